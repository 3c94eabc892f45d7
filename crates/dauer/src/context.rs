//! What a command works with: the settings, and a daemon that answers.

use crate::failure::Failure;
use crate::launch;
use crate::settings::Settings;
use dauer_client::{Client, Error};
use std::time::Duration;

/// How long a daemon that this command may not start itself can be away.
const ABSENCE_MAX: Duration = Duration::from_secs(60);

/// The settings and the way to the daemon.
#[derive(Debug)]
pub(crate) struct Context {
    pub(crate) settings: Settings,
}

impl Context {
    /// A client of the daemon, started where none runs.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let client = self.reach().await?;
        match &self.settings.why {
            Some(why) => Ok(client.because(why)?),
            None => Ok(client),
        }
    }

    /// A client of a daemon that was not asked whether it is there, for a call that may be made twice: where it is lost,
    /// [`Context::reconnect`], or [`Context::find`] where nobody was there in the first place.
    pub(crate) fn client_unasked(&self) -> Result<Client, Failure> {
        let client = Client::new(&self.settings.host);
        match &self.settings.why {
            Some(why) => Ok(client.because(why)?),
            None => Ok(client),
        }
    }

    async fn reach(&self) -> Result<Client, Failure> {
        match Client::connect(&self.settings.host).await {
            Ok(client) => Ok(client),
            Err(error) if !error.is_disconnect() => Err(error.into()),
            Err(error) => {
                self.find(&error).await?;
                Client::connect(&self.settings.host)
                    .await
                    .map_err(Failure::from)
            }
        }
    }

    /// After a first call that reached nobody: starts the daemon, where it may be started.
    pub(crate) async fn find(&self, nobody: &Error) -> Result<(), Failure> {
        if self.settings.local {
            return self.launch().await;
        }
        Err(Failure::new(format!(
            "{nobody}; start it there with `dauer serve`, or leave --host and DAUER_HOST away to use this machine's own"
        )))
    }

    /// Returns when the daemon answers again: starts it, or waits for whoever does.
    pub(crate) async fn reconnect(&self, lost: &Error) -> Result<(), Failure> {
        if self.settings.local {
            return self.launch().await;
        }
        let host = self.settings.host.clone();
        blocking(move || launch::wait_for_socket(&host, ABSENCE_MAX))
            .await?
            .map_err(|error| Failure::new(format!("{lost}; it did not come back: {error}")))
    }

    async fn launch(&self) -> Result<(), Failure> {
        let settings = self.settings.clone();
        blocking(move || launch::ensure(&settings)).await?
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(Failure::because("internal error"))
}
