//! A refusal as a status of gRPC. Which refusal it is, HTTP's status says; here are other words for it.

use crate::respond::Refusal;
use http::StatusCode;
use model::{Reason, RequestId};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Status};

const REASON: &str = "millgate-reason";
/// As in the headers of every answer.
const REQUEST_ID: &str = "millgate-request-id";

/// The code alone is for programs that retry; the reason says what it is.
pub fn code(refusal: &Refusal) -> Code {
    match refusal.status() {
        // Compressed, or of another kind than ours.
        StatusCode::BAD_REQUEST if refusal.reason == Reason::UNDECLARED_BODY => Code::Unimplemented,
        StatusCode::BAD_REQUEST => Code::InvalidArgument,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::GONE => Code::OutOfRange,
        StatusCode::CONFLICT => Code::FailedPrecondition,
        StatusCode::METHOD_NOT_ALLOWED => Code::Unimplemented,
        StatusCode::PAYLOAD_TOO_LARGE => Code::ResourceExhausted,
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::BAD_GATEWAY => Code::Unavailable,
        StatusCode::GATEWAY_TIMEOUT => Code::DeadlineExceeded,
        _ => Code::Internal,
    }
}

pub fn of(code: Code, refusal: &Refusal, request: RequestId) -> Status {
    let mut metadata = MetadataMap::new();
    let seconds = refusal.retry_after_seconds.map(|seconds| ("retry-after", seconds.to_string()));
    let said = [(REASON, refusal.reason.to_string()), (REQUEST_ID, request.to_string())];
    for (name, text) in said.into_iter().chain(seconds) {
        if let Ok(value) = MetadataValue::try_from(text) {
            metadata.insert(name, value);
        }
    }
    Status::with_metadata(code, refusal.detail.clone(), metadata)
}
