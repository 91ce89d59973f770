#![no_main]
//! Bodies of requests and frames of sessions: what is understood means the same when it is sent on.

use edgelet_api::wire::{
    ExecControlFrame, ExecFrame, ExecSessionRequest, ImagePullRequest, KillRequest, LoadRequest,
    RemoveRequest,
};
use libfuzzer_sys::fuzz_target;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;

fuzz_target!(|body: &[u8]| {
    check::<ExecControlFrame>(body);
    check::<ExecFrame>(body);
    check::<ExecSessionRequest>(body);
    check::<ImagePullRequest>(body);
    check::<KillRequest>(body);
    check::<LoadRequest>(body);
    check::<RemoveRequest>(body);
});

fn check<T: DeserializeOwned + Serialize + PartialEq + Debug>(body: &[u8]) {
    let Ok(request) = serde_json::from_slice::<T>(body) else { return };
    let sent = serde_json::to_vec(&request).expect("a request can be sent");
    assert_eq!(serde_json::from_slice::<T>(&sent).expect("what is sent is understood"), request);
}
