use super::*;
use crate::testing::munich;

#[test]
fn the_example_plant_is_without_problems() {
    let (catalog, parties) = load_folders(&munich("catalog"), &munich("registry"))
        .unwrap_or_else(|problems| panic!("{}", crate::testing::messages(&problems, &munich(""))));
    assert_eq!(cross_check(&catalog, &parties), []);
    assert_eq!(catalog.unreadable(), []);
}
