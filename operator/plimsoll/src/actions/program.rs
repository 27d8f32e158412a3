//! The output of a program in a container, from a WebSocket: each message begins with the number of its channel.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use futures::{Stream, StreamExt, stream};
use kube::{Client, core::Status};

const STDOUT: u8 = 1;
const STDERR: u8 = 2;
/// A `Status` at the end: how the program ended.
const STATUS: u8 = 3;

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// With code 0.
    Well,
    /// With another code, or it could not be begun; in words.
    Badly(String),
}

/// A program that runs. It is left alone when this is dropped: nobody can end it.
pub struct Program {
    end: Arc<Mutex<Option<End>>>,
}

impl Program {
    /// Begins it, and gives its output. With `strict`, output of errors is left out, and a program that ends badly
    /// makes the output end with an error.
    ///
    /// # Errors
    /// When the API server refuses it, or does not answer.
    pub async fn run(
        client: &Client,
        path: &str,
        strict: bool,
    ) -> Result<(Self, impl Stream<Item = Result<Bytes, String>> + use<>), kube::Error> {
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        let socket = client.connect(request).await?.into_stream();
        let end = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&end);
        let output = stream::unfold((socket, seen, false), move |(mut socket, seen, over)| async move {
            if over {
                return None;
            }
            loop {
                let message = match socket.next().await {
                    Some(Ok(message)) if message.is_close() => {
                        return finish(strict, &seen).map(|e| (Err(e), (socket, seen, true)));
                    }
                    Some(Ok(message)) => message.into_data(),
                    Some(Err(error)) => {
                        return Some((Err(format!("the connection broke off: {error}")), (socket, seen, true)));
                    }
                    None => return finish(strict, &seen).map(|e| (Err(e), (socket, seen, true))),
                };
                match message.first().copied() {
                    Some(STDOUT) => return Some((Ok(message.slice(1..)), (socket, seen, false))),
                    Some(STDERR) if !strict => return Some((Ok(message.slice(1..)), (socket, seen, false))),
                    Some(STATUS) => {
                        *seen.lock().unwrap_or_else(PoisonError::into_inner) = message.get(1..).map(read);
                    }
                    _ => {}
                }
            }
        });
        Ok((Self { end }, output))
    }

    /// How it ended; none when nobody saw that.
    pub fn end(&self) -> Option<End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What strict output ends with.
fn finish(strict: bool, seen: &Mutex<Option<End>>) -> Option<String> {
    let end = seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match end {
        Some(End::Well) => None,
        Some(End::Badly(message)) => strict.then_some(message),
        None => Some("the connection ended before the program did".to_owned()),
    }
}

/// The message may quote what the program says, and that may be a secret; only its code is told.
fn read(status: &[u8]) -> End {
    let Ok(status) = serde_json::from_slice::<Status>(status) else {
        return End::Badly("it ended in a way that is not understood".to_owned());
    };
    if status.is_success() {
        return End::Well;
    }
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let code = causes.into_iter().find(|cause| cause.reason == "ExitCode").map(|cause| cause.message.as_str());
    match code {
        Some(code) => End::Badly(format!("the program ended with code {code}")),
        None => End::Badly("the program could not be run".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_told_without_what_the_program_said() {
        let failed =
            br#"{"status":"Failure","message":"command terminated with exit code 3: s3cret","reason":"NonZeroExitCode",
            "details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        assert_eq!(read(failed), End::Badly("the program ended with code 3".to_owned()));
        assert_eq!(read(br#"{"status":"Success"}"#), End::Well);
        let none = br#"{"status":"Failure","message":"exec: \"x\": not found","code":500}"#;
        assert_eq!(read(none), End::Badly("the program could not be run".to_owned()));
        assert!(matches!(read(b"{"), End::Badly(_)));
    }
}
