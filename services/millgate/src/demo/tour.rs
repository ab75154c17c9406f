//! What the demo prints: a tour for people, one line of JSON for scripts. Both are made from the same examples.

use super::{CALLERS, Demo};
use model::Clock as _;
use runtime::clock::SystemClock;
use serde_json::{Value, json};
use std::path::Path;

/// One thing to try.
struct Example {
    title: &'static str,
    /// What to look for.
    note: &'static str,
    caller: &'static str,
    path: String,
    api: bool,
    purpose: Option<&'static str>,
    expect: u16,
}

const HOUR_MS: i64 = 3_600_000;

fn examples() -> Vec<Example> {
    // The last complete hours: the demo's machines have always been running.
    let now = SystemClock.now();
    let hour = model::Timestamp(now.millis().div_euclid(HOUR_MS) * HOUR_MS);
    let window = |hours: i64| {
        let text = |t: model::Timestamp| t.to_rfc3339().replace(".000Z", "Z");
        format!("from={}&to={}", text(hour.plus_millis(-hours * HOUR_MS)), text(hour))
    };
    let series = format!("/series/press-3.vibration?{}&resolution=10m", window(1));
    let example = |title, note, caller, path: &str, purpose, expect| Example {
        title,
        note,
        caller,
        path: path.to_owned(),
        api: false,
        purpose,
        expect,
    };
    vec![
        example(
            "acme built press 3 and may watch it",
            "an hour of vibration: mean, least and most of every ten minutes",
            "acme",
            &series,
            Some("predictive-maintenance"),
            200,
        ),
        example(
            "bolt, its competitor, asks for the same",
            "for bolt the machine does not exist: the answer is that of any unknown path",
            "bolt",
            &series,
            Some("quality-analysis"),
            404,
        ),
        example("acme forgets to say why", "every access of a supplier has a purpose", "acme", &series, None, 403),
        example(
            "acme asks for two weeks at once",
            "the agreement allows seven days",
            "acme",
            &format!("/series/press-3.vibration?{}&resolution=1h", window(14 * 24)),
            Some("predictive-maintenance"),
            403,
        ),
        example(
            "acme reads a list that mixes suppliers",
            "only its own records come, with a range for each price and a pseudonym for each person",
            "acme",
            &format!("/quality-notifications?{}", window(6 * 24)),
            Some("quality-analysis"),
            200,
        ),
        example(
            "the plant's own analytics reads the press",
            "a service of the owner, by its role",
            "analytics",
            &series,
            None,
            200,
        ),
        Example {
            title: "bolt looks up what there is for it",
            note: "its own machine and parts, what of them it sees, and how to ask; of acme's there is no trace",
            caller: "bolt",
            path: String::from("/v1/catalogue?limit=2"),
            api: true,
            purpose: None,
            expect: 200,
        },
        Example {
            title: "the auditor asks who got what of press 3",
            note: "the question is itself an entry",
            caller: "auditor",
            path: String::from("/v1/audit/entries?resource=Signal%2Fpress-3.vibration&limit=10"),
            api: true,
            purpose: None,
            expect: 200,
        },
    ]
}

impl Example {
    fn url(&self, demo: &Demo) -> String {
        let base = if self.api { demo.running.api_url() } else { demo.running.data_url() };
        format!("{base}{}", self.path)
    }
}

/// `{"data","api","operator","data_dir","log_dir","log_key","tokens","examples"}` on one line.
pub fn json(demo: &Demo) -> Value {
    let examples: Vec<Value> = examples()
        .iter()
        .map(|e| {
            let token = demo.tokens.get(e.caller).cloned().unwrap_or_default();
            let mut headers = json!({ "authorization": format!("Bearer {token}") });
            if let (Some(purpose), Some(headers)) = (e.purpose, headers.as_object_mut()) {
                headers.insert("millgate-purpose".into(), purpose.into());
            }
            json!({
                "title": e.title, "method": "GET", "url": e.url(demo), "headers": headers, "expect_status": e.expect,
            })
        })
        .collect();
    let mut description = demo.running.addresses();
    if let Some(object) = description.as_object_mut() {
        object.insert("data_dir".into(), json!(demo.home.path()));
        object.insert("tokens".into(), json!(demo.tokens));
        object.insert("examples".into(), json!(examples));
    }
    description
}

pub fn text(demo: &Demo) -> String {
    let running = &demo.running;
    let home = demo.home.path().display();
    let mut out = format!(
        "Millgate demo: the press shop of a plant, two competing suppliers, an auditor.\n\n  \
         data      {}   the proxy\n  api       {}   catalogue, audit questions\n  operator  http://{}   /readyz /metrics\n  \
         files     {home}\n  log key   {}\n\nIn another terminal:\n\n  D={home}\n",
        running.data_url(),
        running.api_url(),
        running.operator,
        running.log_key
    );
    for (i, e) in examples().iter().enumerate() {
        let purpose = e.purpose.map(|p| format!(" -H 'Millgate-Purpose: {p}'")).unwrap_or_default();
        out.push_str(&format!(
            "\n{}. {} → {}\n   {}\n  curl -i -H \"Authorization: Bearer $(cat $D/tokens/{}.jwt)\"{purpose} \\\n    '{}'\n",
            i + 1,
            e.title,
            e.expect,
            e.note,
            e.caller,
            e.url(demo)
        ));
    }
    let (millgate, verify) = (program("millgate"), program("millgate-verify"));
    out.push_str(&format!(
        "\nThe same question on the command line:\n  {millgate} audit query --url {} --token-file $D/tokens/auditor.jwt \
         --organisation acme\n\nVerify the published log, trusting nobody:\n  {verify} log {} --key '{}'\n\n\
         Suspend acme and watch it be out within a second:\n  \
         printf '[revoked]\\norganisations = [\"acme\"]\\n' > $D/policies/plants/munich/registry/out.toml\n\n\
         Tokens of {} are in $D/tokens. Ctrl-C ends the demo.\n",
        running.api_url(),
        running.log_directory.display(),
        running.log_key,
        CALLERS.map(|(name, _, _)| name).join(", "),
    ));
    out
}

/// How this person can call an executable that lies beside this one.
fn program(name: &str) -> String {
    let Ok(own) = std::env::current_exe() else { return name.to_owned() };
    let path = own.with_file_name(name);
    let installed = std::env::var_os("PATH")
        .is_some_and(|paths| std::env::split_paths(&paths).any(|p| Some(p.as_path()) == path.parent()));
    if installed {
        return name.to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).map_or_else(|_| path.display().to_string(), |p: &Path| p.display().to_string())
}
