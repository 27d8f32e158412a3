//! One step: its calls in order, each until it has the answer that it must have.

use std::time::Duration;

use axum::body::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http_body_util::BodyExt;
use jiff::Timestamp;
use kube::{Client, client::Body};
use plimsoll_api::execution::{ArtifactRef, Outcome};
use plimsoll_runbook::{
    names,
    requests::{Call, Expect, Keep, Progress, Request, Server, Standing},
};
use serde_json::Value;
use tokio::time::Instant;

use super::{
    outside::{Outside, SendError},
    picks::{paths, picks_of},
    program::{End, Program},
    waits::Waits,
};
use crate::{
    artifacts::{Archive, ArtifactError, Limit, Place, Shelf},
    operator::gate::NotLeading,
    sinks::kubernetes::chain,
};

/// An answer that is read as an object; a larger one is none that we asked for.
const LARGEST: usize = 4 << 20;
/// A server that fails is asked so often; whoever is patient asks until the time is over.
const FAILURES: u32 = 5;
/// How long what a step has left is being removed, after the step's own time.
const CLEANING: Duration = Duration::from_secs(15);
/// What a server says about a refusal.
const REASON_MAX: usize = 400;

/// Where artifacts of a step go.
#[derive(Debug)]
pub struct Room {
    /// The volume or bucket.
    pub archive: Archive,
    /// Whose they are.
    pub place: Place,
    /// What all artifacts of the runbook may take, in bytes.
    pub quota: u64,
    /// When the execution was made.
    pub created: Timestamp,
    /// When they are removed.
    pub expires: Timestamp,
}

/// Does the calls of one step.
pub struct Actor<'a> {
    /// The runbook's ServiceAccount; none where there is no cluster.
    pub account: Option<Client>,
    /// Servers outside.
    pub outside: &'a Outside,
    /// Where artifacts go; an error tells why nowhere.
    pub room: Result<Room, String>,
    /// What every request continues.
    pub traceparent: Option<String>,
    /// False for an action that is never repeated: then an answer that did not come may mean that it was done.
    pub repeatable: bool,
    /// A server that fails is asked until it is too late, and not only a few times.
    pub patient: bool,
    /// When it is too late.
    pub deadline: Instant,
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Performed {
    /// How it ended.
    pub outcome: Outcome,
    /// A sentence.
    pub message: String,
    /// What was kept.
    pub artifacts: Vec<ArtifactRef>,
    /// The last answer.
    pub answer: Value,
}

/// How performing ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Finish {
    /// With something to store.
    Done(Performed),
    /// This process does not lead any more. Whoever leads finds the intent and goes on from there.
    Abandoned,
}

/// Why a call is not done.
enum Failed {
    Step(Outcome, String),
    /// It was refused, but may have been done by an earlier try whose answer nobody saw.
    Refused(String),
    Abandoned,
}

impl Failed {
    fn message(self) -> String {
        match self {
            Self::Step(_, message) | Self::Refused(message) => message,
            Self::Abandoned => NotLeading.to_string(),
        }
    }

    /// Of a step of which nothing was done.
    fn finish(self) -> Finish {
        match self {
            Self::Step(outcome, message) => {
                Finish::Done(Performed { outcome, message, artifacts: Vec::new(), answer: Value::Null })
            }
            Self::Refused(message) => Self::Step(Outcome::Failed, message).finish(),
            Self::Abandoned => Finish::Abandoned,
        }
    }
}

/// What a call gave.
enum Given {
    Answer(Value),
    /// It was optional, and what comes after it has nothing to do.
    NothingToDo,
    /// The call after it is done already.
    DoneAlready,
}

impl Actor<'_> {
    /// Does all calls, or stops at the first that fails. What has ended badly is no success, and what it has left is kept.
    pub async fn perform(&self, calls: &[Call]) -> Finish {
        let mut artifacts = Vec::new();
        let mut shelf = None;
        let (mut picked, mut badly) = (Vec::new(), Vec::new());
        let (mut is_done, mut has_run, mut looked) = (false, false, None);
        let mut performed = Performed {
            outcome: Outcome::Succeeded,
            message: String::new(),
            artifacts: Vec::new(),
            answer: Value::Null,
        };
        // What stops a process or writes much must not be for nothing.
        if let Err(failed) = self.is_room(calls, &mut shelf).await {
            return failed.finish();
        }
        'calls: for call in calls {
            has_run |= call.request.streams;
            let before = looked.replace(call);
            if std::mem::take(&mut is_done) {
                performed.message = format!("{}: it was so already", call.what);
                continue;
            }
            for path in paths(call, &picked) {
                let given = match self.call(call, path, &mut picked, &mut shelf, &mut artifacts, &mut badly).await {
                    Err(Failed::Refused(message)) => self.look_again(before, message).await,
                    given => given,
                };
                match given {
                    Ok(Given::Answer(answer)) => {
                        let last = artifacts.last().filter(|_| call.keep.is_some());
                        let empty = last.is_some_and(|kept: &ArtifactRef| kept.bytes == 0);
                        let note = if empty { ", and what was kept is empty" } else { "" };
                        performed.message = format!("{}: done{note}", call.what);
                        performed.answer = answer;
                    }
                    Ok(Given::DoneAlready) => is_done = true,
                    Ok(Given::NothingToDo) => {
                        performed.message = format!("{}: there is nothing to do", call.what);
                        break 'calls;
                    }
                    Err(failed) => match failed.finish() {
                        Finish::Abandoned => return Finish::Abandoned,
                        Finish::Done(failed) => {
                            (performed.outcome, performed.message) = (failed.outcome, failed.message);
                            break 'calls;
                        }
                    },
                }
            }
        }
        if !badly.is_empty() {
            badly.push(performed.message);
            (performed.outcome, performed.message) = (Outcome::Failed, badly.join("; "));
        }
        if performed.outcome != Outcome::Succeeded
            && has_run
            && let Some(why) = self.clean(calls).await
        {
            performed.message.push_str("; what it wrote may still be in the container: ");
            performed.message.push_str(&why);
        }
        performed.artifacts = artifacts;
        Finish::Done(performed)
    }

    /// Removes what calls that did not all succeed, or were left, have written in a container. Gives why it could not.
    pub async fn clean(&self, calls: &[Call]) -> Option<String> {
        if !calls.iter().any(|call| call.cleans) {
            return None;
        }
        let cleaned = async {
            // Another Pod of the same name has nothing of it.
            for call in calls {
                let Expect::Uid(uid) = &call.expect else { continue };
                let (_, body) = self.send(&call.request, &call.request.path).await.map_err(|e| e.to_string())?;
                let object: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
                if object.pointer("/metadata/uid").and_then(Value::as_str) != Some(uid) {
                    return Ok(());
                }
            }
            for call in calls.iter().filter(|call| call.cleans) {
                self.run(call, &call.request.path).await.map_err(Failed::message)?;
            }
            Ok(())
        };
        match tokio::time::timeout(CLEANING, cleaned).await {
            Ok(cleaned) => cleaned.err(),
            Err(_) => Some("it took too long".to_owned()),
        }
    }

    /// Looks for room for what is kept whole, before it is made.
    async fn is_room<'s>(&'s self, calls: &[Call], shelf: &mut Option<Shelf<'s>>) -> Result<(), Failed> {
        let whole = |call: &&Call| call.keep.as_ref().is_some_and(|keep| keep.whole);
        let Some(call) = calls.iter().find(whole) else { return Ok(()) };
        let Some(keep) = &call.keep else { return Ok(()) };
        let failed = |message: String| Failed::Step(Outcome::Failed, format!("{}: {message}", call.what));
        let room = self.room.as_ref().map_err(|why| failed(why.clone()))?;
        let looked = async {
            let kept = self.shelf(room, shelf).await?;
            kept.room(&keep.name).await
        };
        self.until_deadline(call, looked).await?.map_err(|error| failed(error.to_string()))?;
        Ok(())
    }

    async fn call<'s>(
        &'s self,
        call: &Call,
        path: String,
        picked: &mut Vec<String>,
        shelf: &mut Option<Shelf<'s>>,
        artifacts: &mut Vec<ArtifactRef>,
        badly: &mut Vec<String>,
    ) -> Result<Given, Failed> {
        let failed = |message: &str| Failed::Step(Outcome::Failed, format!("{}: {message}", call.what));
        if let Some(keep) = &call.keep {
            let kept = self.until_deadline(call, self.keep(call, &path, keep, shelf)).await??;
            artifacts.extend(kept);
            return Ok(Given::Answer(Value::Null));
        }
        if call.request.streams {
            self.until_deadline(call, self.run(call, &path)).await??;
            return Ok(Given::Answer(Value::Null));
        }
        let mut waited = Waits::new(self.deadline);
        loop {
            let answer = self.ask(call, &path).await?;
            match &call.expect {
                Expect::Code => {}
                Expect::Uid(uid) => {
                    if answer.pointer("/metadata/uid").and_then(Value::as_str) != Some(uid) {
                        return Err(failed("it is another object of the same name by now"));
                    }
                }
                Expect::Ours(execution) => {
                    let labels = answer.pointer("/metadata/labels").and_then(Value::as_object);
                    let made_by = labels.and_then(|labels| labels.get(names::EXECUTION)).and_then(Value::as_str);
                    if made_by != Some(execution) {
                        return Err(failed("an object of this name is there that this execution has not made"));
                    }
                }
                Expect::Known(known) => match known.standing(&answer) {
                    Standing::Before => {}
                    Standing::Done => return Ok(Given::DoneAlready),
                    Standing::Changed(why) => return Err(failed(&why)),
                },
                Expect::Until(until) => match until.progress(&answer) {
                    Progress::Done => {}
                    Progress::Never(why) => return Err(failed(&why)),
                    Progress::Badly(how) => badly.push(format!("{}: {how}", call.what)),
                    Progress::Waiting(why) => {
                        if waited.next().await {
                            continue;
                        }
                        let message = format!("{}: it took too long; {why}", call.what);
                        return Err(Failed::Step(Outcome::TimedOut, message));
                    }
                },
            }
            return match &call.pick {
                None => Ok(Given::Answer(answer)),
                Some(pick) => {
                    *picked = picks_of(&answer, pick);
                    match picked.as_slice() {
                        [] if pick.optional => Ok(Given::NothingToDo),
                        [] => Err(failed("the answer has not what is needed")),
                        _ => Ok(Given::Answer(answer)),
                    }
                }
            };
        }
    }

    /// What was refused, by the look that came before it: a patch that was done, and whose answer was lost, is refused when
    /// it is sent again, since what it expects to find is not there any more.
    async fn look_again(&self, look: Option<&Call>, refused: String) -> Result<Given, Failed> {
        let failed = |message: String| Err(Failed::Step(Outcome::Failed, message));
        let Some((look, Expect::Known(known))) = look.map(|look| (look, &look.expect)) else { return failed(refused) };
        match self.ask(look, &look.request.path).await {
            Ok(object) => match known.standing(&object) {
                Standing::Done => Ok(Given::Answer(object)),
                Standing::Before => failed(refused),
                Standing::Changed(why) => failed(format!("{}: {why}", look.what)),
            },
            Err(Failed::Abandoned) => Err(Failed::Abandoned),
            Err(_) => failed(refused),
        }
    }

    async fn until_deadline<T>(&self, call: &Call, work: impl Future<Output = T>) -> Result<T, Failed> {
        tokio::time::timeout_at(self.deadline, work).await.map_err(|_| {
            let outcome = if self.repeatable || !acts(&call.request) { Outcome::TimedOut } else { Outcome::Unknown };
            Failed::Step(outcome, format!("{}: it took too long", call.what))
        })
    }

    /// Asks until there is an answer that is one.
    async fn ask(&self, call: &Call, path: &str) -> Result<Value, Failed> {
        let (mut failures, mut is_lost) = (0, false);
        let mut waited = Waits::new(self.deadline);
        loop {
            let (outcome, message) = match self.until_deadline(call, self.send(&call.request, path)).await? {
                Ok((code, body)) if (200..300).contains(&code) || call.fine.contains(&code) => {
                    return Ok(serde_json::from_slice(&body).unwrap_or(Value::Null));
                }
                Ok((code, body)) => {
                    let message = format!("{}: {}", call.what, refusal(&call.request.to, code, &body));
                    if call.unknown.contains(&code) {
                        return Err(Failed::Step(Outcome::Unknown, message));
                    }
                    if call.again.contains(&code) {
                        (Some(Outcome::TimedOut), message)
                    } else if code >= 500 && !self.repeatable && acts(&call.request) {
                        return Err(Failed::Step(Outcome::Unknown, message));
                    } else if code == 429 || code >= 500 {
                        failures += 1;
                        is_lost |= code >= 500;
                        let late = if self.patient { Outcome::TimedOut } else { Outcome::Failed };
                        ((self.patient || failures < FAILURES).then_some(late), message)
                    } else {
                        (None, message)
                    }
                }
                Err(SendError::NotLeading(_)) => return Err(Failed::Abandoned),
                Err(error @ (SendError::Unknown(_) | SendError::NoCluster)) => {
                    (None, format!("{}: {error}", call.what))
                }
                Err(error) if self.repeatable || !acts(&call.request) => {
                    is_lost = true;
                    (Some(Outcome::TimedOut), format!("{}: {error}", call.what))
                }
                Err(error) => {
                    return Err(Failed::Step(Outcome::Unknown, format!("{}: {error}", call.what)));
                }
            };
            match outcome {
                Some(late) => {
                    if !waited.next().await {
                        return Err(Failed::Step(late, message));
                    }
                }
                None if is_lost => return Err(Failed::Refused(message)),
                None => return Err(Failed::Step(Outcome::Failed, message)),
            }
        }
    }

    /// Sends one request whose answer is small.
    async fn send(&self, request: &Request, path: &str) -> Result<(u16, Vec<u8>), SendError> {
        if request.to != Server::Kubernetes {
            let answer = self.outside.send(request, path, self.traceparent.as_deref()).await?;
            return Ok((answer.code, answer.body));
        }
        let (code, body) = self.begin(request, path).await?;
        let limited = http_body_util::Limited::new(body, LARGEST);
        let body = limited.collect().await.map_err(|error| SendError::Broken(error.to_string()))?;
        Ok((code, body.to_bytes().to_vec()))
    }

    fn account(&self) -> Result<&Client, SendError> {
        self.account.as_ref().ok_or(SendError::NoCluster)
    }

    /// Sends a request to the API server; the answer's body is still to be read.
    async fn begin(&self, request: &Request, path: &str) -> Result<(u16, Body), SendError> {
        let broken = |message: String| SendError::Broken(message);
        let body = match &request.body {
            Some(body) => serde_json::to_vec(body).map_err(|error| broken(error.to_string()))?,
            None => Vec::new(),
        };
        let mut sent = http::Request::builder().method(request.method).uri(path);
        if let Some(content_type) = request.content_type {
            sent = sent.header(http::header::CONTENT_TYPE, content_type);
        }
        let sent = sent.body(Body::from(body)).map_err(|error| broken(error.to_string()))?;
        let answer = self.account()?.send(sent).await.map_err(|error| no_answer(&error))?;
        Ok((answer.status().as_u16(), answer.into_body()))
    }

    /// Keeps an answer, or the output of a program.
    async fn keep<'s>(
        &'s self,
        call: &Call,
        path: &str,
        keep: &Keep,
        shelf: &mut Option<Shelf<'s>>,
    ) -> Result<Option<ArtifactRef>, Failed> {
        let failed = |message: String| Failed::Step(Outcome::Failed, format!("{}: {message}", call.what));
        let room = self.room.as_ref().map_err(|why| failed(why.clone()))?;
        let most = keep.limit.unwrap_or(room.quota);
        let limit = match (keep.whole, keep.end) {
            (true, _) => Limit::Refuse(most),
            (false, true) => Limit::End(most),
            (false, false) => Limit::Cut(most),
        };
        // Before anything is begun: a program does not wait in the middle of what it does.
        let _memory = room.archive.memory(&room.place.namespace, limit).await;
        let mut failures = 0;
        let mut waited = Waits::new(self.deadline);
        let content = loop {
            if call.request.streams {
                return self.keep_program(call, path, keep, limit, room, shelf).await.map(Some);
            }
            let (message, retry) = match self.begin(&call.request, path).await {
                Ok((code, body)) if (200..300).contains(&code) => break body,
                Ok((code, body)) => {
                    let body = http_body_util::Limited::new(body, LARGEST).collect().await;
                    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
                    failures += 1;
                    (refusal(&call.request.to, code, &body), code >= 500 && (self.patient || failures < FAILURES))
                }
                Err(SendError::NotLeading(_)) => return Err(Failed::Abandoned),
                Err(error) => (error.to_string(), !matches!(error, SendError::NoCluster)),
            };
            if !retry || !waited.next().await {
                return Err(failed(message));
            }
        };
        let mut content = content.into_data_stream().map_err(|error| error.to_string()).boxed();
        let mut begins = Vec::new();
        if let Some(none) = keep.none {
            while begins.len() < none.len() {
                match content.next().await {
                    Some(chunk) => begins.extend_from_slice(&chunk.map_err(&failed)?),
                    None => break,
                }
            }
            if begins.starts_with(none.as_bytes()) {
                return Err(failed("the node has removed the container, and its log with it".to_owned()));
            }
        }
        let begins = stream::iter((!begins.is_empty()).then(|| Ok(Bytes::from(begins))));
        let content = begins.chain(content);
        let kept = self.shelf(room, shelf).await.map_err(|error| failed(error.to_string()))?;
        kept.put(&keep.name, content, limit).await.map(Some).map_err(|error| failed(error.to_string()))
    }

    async fn keep_program<'s>(
        &'s self,
        call: &Call,
        path: &str,
        keep: &Keep,
        limit: Limit,
        room: &'s Room,
        shelf: &mut Option<Shelf<'s>>,
    ) -> Result<ArtifactRef, Failed> {
        let failed = |error: &ArtifactError| Failed::Step(Outcome::Failed, format!("{}: {error}", call.what));
        // First the place, then the program: what it does must not be for nothing.
        let kept = self.shelf(room, shelf).await.map_err(|error| failed(&error))?;
        let (program, output) = self.begin_program(call, path, keep.whole).await?;
        let stored = kept.put(&keep.name, output, limit).await;
        match (stored, program.end()) {
            // Of a long output the end of the program is not waited for.
            (Ok(stored), None) if stored.truncated == Some(true) => Ok(stored),
            (Ok(stored), end) => self.ended(call, end).map(|()| stored),
            (Err(error @ ArtifactError::Read(_)), None) => Err(self.unseen(call, &error.to_string())),
            (Err(error), _) => Err(failed(&error)),
        }
    }

    /// Runs a program whose output nobody wants.
    async fn run(&self, call: &Call, path: &str) -> Result<(), Failed> {
        let (program, output) = self.begin_program(call, path, false).await?;
        let read = output.for_each(|_: Result<Bytes, String>| std::future::ready(()));
        read.await;
        self.ended(call, program.end())
    }

    async fn begin_program(
        &self,
        call: &Call,
        path: &str,
        strict: bool,
    ) -> Result<(Program, futures::stream::BoxStream<'static, Result<Bytes, String>>), Failed> {
        let nobody = |error| Failed::Step(Outcome::Failed, format!("{}: {error}", call.what));
        let account = self.account().map_err(nobody)?;
        match Program::run(account, path, strict).await {
            Ok((program, output)) => Ok((program, output.boxed())),
            Err(kube::Error::Api(status)) if status.code < 500 => {
                Err(Failed::Step(Outcome::Failed, format!("{}: {} {}", call.what, status.code, status.message)))
            }
            Err(error) => match no_answer(&error) {
                SendError::NotLeading(_) => Err(Failed::Abandoned),
                error => Err(self.unseen(call, &error.to_string())),
            },
        }
    }

    fn ended(&self, call: &Call, end: Option<End>) -> Result<(), Failed> {
        match end {
            Some(End::Well) => Ok(()),
            Some(End::Badly(why)) => Err(Failed::Step(Outcome::Failed, format!("{}: {why}", call.what))),
            None => Err(self.unseen(call, "the connection ended before the program did")),
        }
    }

    /// A program whose end nobody saw.
    fn unseen(&self, call: &Call, why: &str) -> Failed {
        let outcome = if self.repeatable { Outcome::Failed } else { Outcome::Unknown };
        Failed::Step(outcome, format!("{}: {why}", call.what))
    }

    async fn shelf<'s, 't>(
        &'s self,
        room: &'s Room,
        shelf: &'t mut Option<Shelf<'s>>,
    ) -> Result<&'t mut Shelf<'s>, ArtifactError> {
        match shelf {
            Some(shelf) => Ok(shelf),
            None => {
                let begun = room.archive.shelf(room.place.clone(), room.quota, room.created, room.expires).await?;
                Ok(shelf.insert(begun))
            }
        }
    }
}

/// True for what may change something.
fn acts(request: &Request) -> bool {
    request.method != "GET" || request.streams
}

fn no_answer(error: &kube::Error) -> SendError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<NotLeading>() {
            return NotLeading.into();
        }
        cause = error.source();
    }
    SendError::Broken(chain(error))
}

/// What a server says when it refuses. Of destinations only the code: they may repeat what they were sent.
fn refusal(server: &Server, code: u16, body: &[u8]) -> String {
    let said = serde_json::from_slice::<Value>(body).unwrap_or(Value::Null);
    let text = match server {
        Server::Kubernetes => said.get("message").filter(|_| said.get("kind").is_some_and(|kind| kind == "Status")),
        Server::Prometheus => said.get("error"),
        Server::Alertmanager | Server::Grafana => said.get("message").or(Some(&said)),
        Server::Destination(_) => None,
    };
    let text: String = text.and_then(Value::as_str).unwrap_or_default().chars().take(REASON_MAX).collect();
    format!("{code} {text}").trim_end().to_owned()
}

#[cfg(test)]
#[path = "perform_tests.rs"]
mod tests;
