//! What an engine is made of.

use crate::{Context, Engine, Error, HandlerError, Sqlite, Store};
use dauer_core::{Json, NodeId};
use dauer_engine::inline::{Embedded, Failure, Handler};
use futures_util::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

/// So many functions run at once where nothing else is said.
const CONCURRENCY: usize = 128;

/// An engine that is to be started.
pub struct Builder {
    store: Option<Arc<dyn Store>>,
    url: Option<String>,
    node: Option<NodeId>,
    handlers: BTreeMap<String, Handler>,
    concurrency: usize,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            store: None,
            url: None,
            node: None,
            handlers: BTreeMap::new(),
            concurrency: CONCURRENCY,
        }
    }

    /// Where jobs are kept. Without one they are gone with the engine.
    #[must_use]
    pub fn store(mut self, store: impl Store) -> Self {
        self.store = Some(Arc::new(store));
        self.url = None;
        self
    }

    /// The same by its URL, for several programs at once: `postgres://USER@HOST/NAME`, `redis://HOST` (with the features of these
    /// names), `sqlite:PATH` or `memory:`. It is opened when the engine starts. The last of this and [`Builder::store`] counts.
    #[must_use]
    pub fn store_url(mut self, url: impl Into<String>) -> Self {
        self.url = Some(url.into());
        self.store = None;
        self
    }

    /// What this program is called among those that share the store. One that is started again under its name goes on with its
    /// jobs at once; without a name others wait until its lease has run out, and so does it itself. Of two programs of one name
    /// the second ends the first.
    #[must_use]
    pub fn node(mut self, name: impl Into<String>) -> Self {
        self.node = Some(NodeId(name.into()));
        self
    }

    /// The function that jobs of this name call, with their parameters. What it returns as `Ok` is the job's output; parameters
    /// that are not a `P` fail the job. A second one of the same name takes the place of the first.
    #[must_use]
    pub fn handler<P, O, F, R>(mut self, name: impl Into<String>, function: F) -> Self
    where
        P: DeserializeOwned + Send + 'static,
        O: Serialize + Send + 'static,
        F: Fn(Context, P) -> R + Send + Sync + 'static,
        R: Future<Output = Result<O, HandlerError>> + Send + 'static,
    {
        let function = Arc::new(function);
        let handler: Handler = Arc::new(move |context: Context| {
            let function = Arc::clone(&function);
            async move {
                let params = params::<P>(&context)?;
                let output = function(context, params).await.map_err(failure)?;
                written(&output)
            }
            .boxed()
        });
        self.handlers.insert(name.into(), handler);
        self
    }

    /// How many functions run at once; 128 where nothing is said.
    #[must_use]
    pub fn concurrency(mut self, functions: usize) -> Self {
        self.concurrency = functions;
        self
    }

    /// Starts it: what ran when an earlier process ended is called again, and what is due begins.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn start(self) -> Result<Engine, Error> {
        let store = match (self.store, self.url) {
            (Some(store), _) => store,
            (None, Some(url)) => dauer_store::open(&url).await?,
            (None, None) => Arc::new(Sqlite::memory()?),
        };
        let embedded = Embedded {
            handlers: self.handlers,
            concurrency: self.concurrency,
            node: self.node,
        };
        let engine = dauer_engine::Engine::embed(embedded, store).await?;
        Ok(Engine { engine })
    }
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("handlers", &self.handlers.keys())
            .field("concurrency", &self.concurrency)
            .finish_non_exhaustive()
    }
}

fn params<P: DeserializeOwned>(context: &Context) -> Result<P, Failure> {
    let params = context.params().cloned().unwrap_or_default();
    serde_json::from_value(params).map_err(|error| Failure {
        message: format!("its parameters are not what the handler takes: {error}"),
        fatal: true,
    })
}

fn failure(error: HandlerError) -> Failure {
    Failure {
        message: error.message,
        fatal: error.fatal,
    }
}

/// The output as JSON; `()` and `None` leave nothing.
fn written<O: Serialize>(output: &O) -> Result<Option<Json>, Failure> {
    match serde_json::to_string(output) {
        Ok(text) if text == "null" => Ok(None),
        Ok(text) => Ok(Some(Json(text))),
        Err(error) => Err(Failure {
            message: format!("its output cannot be written as JSON: {error}"),
            fatal: true,
        }),
    }
}
