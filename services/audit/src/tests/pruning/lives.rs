//! Whatever a plant does before and after a pruning: roots, proofs and entries of what stays are what they were.

use super::*;

/// One step of a plant's life, in rows of the store of any size.
#[derive(Clone, Debug)]
pub(super) enum Life {
    Refusals(usize, usize),
    /// An exchange that ends after so many further steps.
    Exchange(usize, usize),
}

async fn live(log: &Log, life: &[Life]) {
    const WHO: [&str; 3] = ["acme/anna", "bolt/otto", "cresta/carla"];
    let mut open: Vec<(usize, u64, &str, String)> = Vec::new();
    for (n, step) in life.iter().enumerate() {
        match step {
            Life::Refusals(who, count) => drop(asks_often(log, WHO[*who], *count).await),
            Life::Exchange(who, steps) => {
                let (of, request) = (WHO[*who].split('/').next().unwrap(), format!("request {n}"));
                let index = log.append(allow(log, of, &request)).await.unwrap().index;
                open.push((n + steps, index, of, request));
            }
        }
        for (_, index, of, request) in open.extract_if(.., |(until, ..)| *until <= n) {
            log.append_outcome(outcome(log, of, &request, index)).await.unwrap();
        }
    }
    for (_, index, of, request) in open {
        log.append_outcome(outcome(log, of, &request, index)).await.unwrap();
    }
}

/// Both lives go by, the first is pruned, and everything about the rest is what it was; `at` says which entry is looked at.
pub(super) async fn pruned_and_compared(stand: &Stand, old: &[Life], young: &[Life], at: f64) {
    let (plant, log, publisher) = Plant::serving(stand).await;
    live(&log, old).await;
    let first_young = log.size();
    plant.day(100);
    live(&log, young).await;
    publisher.publish_now().await.unwrap();
    let before = crate::Publication::open(plant.out.path()).unwrap();
    let all = entries_from(&log, 0).await;
    let went = plant.prune(&log).await.unwrap();
    // Whole bundles of what is old, and all of them.
    assert_eq!(went, first_young / 256 * 256);
    publisher.publish_now().await.unwrap();
    assert_eq!(plant.findings().await, Vec::<String>::new());
    let mut after = crate::Publication::open(plant.out.path()).unwrap();
    assert_eq!(after.root(before.size()).unwrap(), before.checkpoint().root);
    let proof = after.consistency(before.size()).unwrap();
    let (size, root) = (after.size(), after.checkpoint().root);
    tlog::proof::verify_consistency(before.size(), before.checkpoint().root, size, root, &proof).unwrap();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "some entry"
    )]
    let index = (at * before.size() as f64) as u64;
    let entry = &all[usize::try_from(index).unwrap()];
    let redeemed = log.redeem(plant.out.path(), index, tlog::leaf_hash(entry)).await.unwrap();
    tlog::proof::verify_inclusion(tlog::leaf_hash(entry), index, size, &redeemed.proof, root).unwrap();
    assert_eq!(log.evidence(plant.out.path(), index, &[]).await.is_ok(), index >= went || index == 0);
    assert_eq!(
        entries_from(&log, went).await[..all.len() - usize::try_from(went).unwrap()],
        all[usize::try_from(went).unwrap()..]
    );
    log.close().await;
    // And the next start finds nothing wrong.
    let log = plant.open().await;
    assert_eq!(log.pruned().map_or(0, |pruned| pruned.below), went);
    log.close().await;
}

/// As the property beside this draws them, the same every time: where a PostgreSQL is started there is no proptest.
pub async fn whatever_is_pruned_of_some_lives_the_rest_stays(stand: &Stand) {
    for seed in 0..3 {
        let mut drawn = Drawn::new(seed);
        let mut life = || -> Vec<Life> {
            let steps = 8 + drawn.below(14);
            let step = |drawn: &mut Drawn| match (drawn.below(8), drawn.below(3)) {
                (0..5, who) => Life::Refusals(who, 1 + drawn.below(119)),
                (_, who) => Life::Exchange(who, drawn.below(4)),
            };
            (0..steps).map(|_| step(&mut drawn)).collect()
        };
        let (old, young) = (life(), life());
        #[expect(clippy::cast_precision_loss, reason = "some entry")]
        let at = seed as f64 / 3.0;
        pruned_and_compared(stand, &old, &young, at).await;
    }
}
