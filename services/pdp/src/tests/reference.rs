//! `docs/policy-schema.md` against the schema.

use super::world::{folder, schema};
use cedar_policy::SchemaFragment;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// Attributes by the name of what has them, with `?` where they may be missing.
type Members = BTreeMap<String, BTreeSet<String>>;

fn attributes(of: &Json) -> BTreeSet<String> {
    let all = of.get("attributes").and_then(Json::as_object).into_iter().flatten();
    all.map(|(name, ty)| if ty["required"] == false { format!("{name}?") } else { name.clone() }).collect()
}

fn declared() -> (Members, Members) {
    let (fragment, _) = SchemaFragment::from_cedarschema_str(&schema().1).unwrap();
    let json = fragment.to_json_value().unwrap();
    let plant = &json["Plant"];
    let members = |of: &str, path: &str| -> Members {
        let all = plant[of].as_object().unwrap().iter();
        all.map(|(name, ty)| (name.clone(), ty.pointer(path).map(attributes).unwrap_or_default())).collect()
    };
    let mut types = members("entityTypes", "/shape");
    types.extend(members("commonTypes", ""));
    let question = types.get("Question").unwrap().clone();
    let mut actions = members("actions", "/appliesTo/context");
    for (name, action) in plant["actions"].as_object().unwrap() {
        let context = &action["appliesTo"]["context"];
        if context["type"] == "Question" || context["name"] == "Question" {
            actions.insert(name.clone(), question.clone());
        }
    }
    (types, actions)
}

fn between(text: &str, mark: char) -> impl Iterator<Item = &str> {
    text.split(mark).skip(1).step_by(2)
}

fn documented() -> (Members, Members) {
    let text = std::fs::read_to_string(folder().join("../docs/policy-schema.md")).unwrap();
    let (mut types, mut actions) = (Members::new(), Members::new());
    for section in text.split("\n### ").skip(1) {
        let (heading, body) = section.split_once('\n').unwrap();
        let context = body.split_once("Context: ").map_or("", |(_, context)| context);
        for name in between(heading, '`') {
            if name.starts_with(char::is_lowercase) {
                let mut context: BTreeSet<String> = between(context, '`').map(str::to_owned).collect();
                // What stands in brackets is the type.
                context.remove("Governance");
                actions.insert(name.to_owned(), context);
            } else {
                let rows = body.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
                types.insert(name.to_owned(), rows.map(str::to_owned).collect());
            }
        }
    }
    (types, actions)
}

#[test]
fn the_reference_names_every_type_attribute_and_action_of_the_schema() {
    let ((types, actions), (told_types, told_actions)) = (declared(), documented());
    assert_eq!(told_types, types);
    assert_eq!(told_actions, actions);
}
