//! A thread that runs what it is given, one after another.

use std::sync::mpsc::{Sender, channel};
use std::thread;

use anyhow::{Result, anyhow};

type Job = Box<dyn FnOnce() + Send>;

/// A handle of the thread, which ends with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Worker(Sender<Job>);

impl Worker {
    /// Starts the thread; `prepare` runs in it, and its error is this function's.
    pub(crate) fn start(name: &str, prepare: impl FnOnce() -> Result<()> + Send + 'static) -> Result<Self> {
        let (jobs, received) = channel::<Job>();
        let (reply, prepared) = channel();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let outcome = prepare();
            let ready = outcome.is_ok();
            drop(reply.send(outcome));
            if ready {
                received.into_iter().for_each(|job| job());
            }
        })?;
        prepared.recv()??;
        Ok(Self(jobs))
    }

    /// Runs a job in the thread and waits for it. What takes long keeps others from theirs.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (reply, answer) = channel();
        let job = Box::new(move || drop(reply.send(job())));
        self.0.send(job).map_err(|_| anyhow!("a thread of the testbed has ended"))?;
        Ok(answer.recv()?)
    }
}
