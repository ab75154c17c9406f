//! What a decision waits for, beyond its entry being durable, before the source is asked: a product says so in the catalog,
//! and a policy that permits may say more.

use crate::Broker;
use crate::record::Admitted;
use crate::respond::Refusal;
use model::Reason;
use model::entry::Ended;
use model::plant::Acknowledgement;
use std::time::Duration;

const LOOK: Duration = Duration::from_millis(20);

/// # Errors
/// 503 when it does not come in time: then the source is not asked, and the outcome says so.
pub async fn wait(broker: &Broker, admitted: Admitted) -> Result<Admitted, Refusal> {
    let level = admitted.permit().demands().acknowledgement;
    let index = admitted.index();
    let is_there = || {
        let status = broker.log.status();
        match level {
            Acknowledgement::Durable => true,
            Acknowledgement::Checkpointed => status.checkpoint_size > index,
            Acknowledgement::Witnessed => status.witnessed_size > index,
        }
    };
    let until = tokio::time::Instant::now() + broker.acknowledgement_patience;
    while !is_there() {
        let is_late = tokio::time::Instant::now() >= until;
        if is_late || (level == Acknowledgement::Witnessed && !broker.is_witnessed) {
            let detail = match level {
                Acknowledgement::Witnessed if !broker.is_witnessed => {
                    "the data is given out only under the eyes of witnesses, and this broker has none"
                }
                Acknowledgement::Witnessed => {
                    "the data is given out only under the eyes of witnesses, who do not answer in time; try again"
                }
                _ => "the data is given out only under a signed checkpoint, and none came in time; try again",
            };
            let refusal = Refusal::new(Reason::NOT_PUBLISHED, detail).retry_after(5);
            let (_, exchange) = admitted.into_exchange();
            exchange.fail(Ended::NotForwarded, &refusal);
            return Err(refusal);
        }
        tokio::time::sleep(LOOK).await;
    }
    Ok(admitted)
}
