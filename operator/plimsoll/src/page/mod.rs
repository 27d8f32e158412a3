//! The web page: routes over what [`plimsoll_page`] writes. Reading is open to whoever reaches the port; nothing can be
//! changed there, except that executions are decided about with a token of the decider's own.

pub mod answers;
pub mod decide;
pub mod host;
mod live;
mod once;
mod requests;
mod routes;
pub mod sources;
pub mod stores;
#[cfg(test)]
mod tests;
pub mod told;

use std::{net::SocketAddr, sync::Arc};

use plimsoll_page::html::Notice;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;

pub use self::{
    answers::Answers,
    routes::{app, same_origin},
    sources::{Decides, Explains, Objects, Recorded},
};
use crate::serving::{self, Limits};

/// Readers that are told of changes at the same time.
const LISTENERS: usize = 200;
/// A browser has some connections more than the one by which it listens.
pub const LIMITS: Limits = Limits::of(512);

/// What the page is made from.
pub struct Site {
    /// The series.
    pub recorded: Arc<dyn Recorded>,
    /// The objects.
    pub objects: Arc<dyn Objects>,
    /// Why an SLO is quiet or fires; none where nobody can say.
    pub explains: Option<Arc<dyn Explains>>,
    /// Decisions; none where they are not taken.
    pub decides: Option<Arc<dyn Decides>>,
    /// What every view says above all else.
    pub notice: Option<Arc<dyn Fn() -> Notice + Send + Sync>>,
    /// Ended when the page is.
    pub stop: CancellationToken,
    listeners: Arc<Semaphore>,
    seen: live::Seen,
}

impl Site {
    /// Of these, without explanations, decisions and a notice.
    pub fn new(recorded: Arc<dyn Recorded>, objects: Arc<dyn Objects>, stop: CancellationToken) -> Self {
        let listeners = Arc::new(Semaphore::new(LISTENERS));
        Self {
            recorded,
            objects,
            explains: None,
            decides: None,
            notice: None,
            stop,
            listeners,
            seen: live::Seen::default(),
        }
    }
}

/// Serves the page until the site's `stop`.
///
/// # Errors
/// When the address is taken.
pub async fn serve(address: SocketAddr, site: Site) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    serve_on(listener, site).await
}

/// As [`serve`], on a socket that listens already.
///
/// # Errors
/// When the socket has no address.
pub async fn serve_on(listener: TcpListener, site: Site) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "serving the page");
    let stop = site.stop.clone();
    serving::serve(listener, None, host::guarded(app(Arc::new(site)), address), LIMITS, stop).await;
    Ok(())
}
