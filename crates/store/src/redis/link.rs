//! One connection to the server, made again when it breaks, and scripts run over it until they are answered.

use super::address::Address;
use super::fault::{Fault, Remedy, remedy};
use crate::Error;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, FromRedisValue, RedisError, Script, Value};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::warn;

/// A server that does not answer for so long is taken for one that never will, and asked again on another connection.
const ANSWER_AFTER_MAX: Duration = Duration::from_secs(10);
const CONNECTED_AFTER_MAX: Duration = Duration::from_secs(5);

/// Nobody waits longer than this for a server that is away.
const AWAY_MAX: Duration = Duration::from_secs(30);

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Shared by all clones of a store.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) address: Address,
    connection: Mutex<Option<Numbered>>,
}

/// The n-th connection: so that one that broke is given up once, however many were waiting for an answer on it.
#[derive(Clone, Debug)]
struct Numbered {
    number: u64,
    connection: MultiplexedConnection,
}

/// What is asked.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Script(&'a Script, &'a [Vec<u8>]),
    Command(&'a Cmd),
}

impl Link {
    pub(super) fn new(address: Address) -> Arc<Self> {
        Arc::new(Self {
            address,
            connection: Mutex::new(None),
        })
    }

    fn present(&self) -> std::sync::MutexGuard<'_, Option<Numbered>> {
        // Every change of it leaves it whole.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn connected(&self) -> Result<Numbered, RedisError> {
        if let Some(present) = &*self.present() {
            return Ok(present.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECTED_AFTER_MAX))
            .set_response_timeout(Some(ANSWER_AFTER_MAX));
        let connection = self
            .address
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await?;
        let mut present = self.present();
        // Somebody else may have been faster; both connections are good.
        let number = present.as_ref().map_or(0, |present| present.number) + 1;
        let made = Numbered { number, connection };
        *present = Some(made.clone());
        Ok(made)
    }

    /// Whether it can be reached at all: who opens a store is told at once.
    pub(super) async fn reach(&self) -> Result<(), Error> {
        match self.connected().await {
            Ok(_) => Ok(()),
            Err(error) => Err(self.server(error).into()),
        }
    }

    fn give_up(&self, broken: &Numbered) {
        let mut present = self.present();
        if present
            .as_ref()
            .is_some_and(|present| present.number == broken.number)
        {
            *present = None;
        }
    }

    /// Runs a script. It may be run more than once: its connection may break after it was run and before it was answered.
    pub(super) async fn run(&self, script: &Script, args: &[Vec<u8>]) -> Result<Value, Error> {
        self.until_answered(Asked::Script(script, args)).await
    }

    /// Runs a command that may be run more than once.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let answer = self.until_answered(Asked::Command(command)).await?;
        Ok(redis::from_redis_value(answer).map_err(|_| Fault::Form("a command"))?)
    }

    async fn send(
        &self,
        asked: Asked<'_>,
        connection: &mut MultiplexedConnection,
    ) -> Result<Value, RedisError> {
        match asked {
            Asked::Command(command) => command.query_async(connection).await,
            Asked::Script(script, args) => {
                let mut call = script.prepare_invoke();
                call.key(&self.address.prefix);
                for arg in args {
                    call.arg(&arg[..]);
                }
                call.invoke_async(connection).await
            }
        }
    }

    async fn until_answered(&self, asked: Asked<'_>) -> Result<Value, Error> {
        let (since, mut pause) = (Instant::now(), PAUSE_MIN);
        loop {
            let error = match self.connected().await {
                Err(error) => error,
                Ok(mut present) => match self.send(asked, &mut present.connection).await {
                    Ok(answer) => return Ok(answer),
                    Err(error) => {
                        if remedy(&error) == Remedy::Reconnect {
                            self.give_up(&present);
                        }
                        error
                    }
                },
            };
            match remedy(&error) {
                Remedy::Reconnect | Remedy::Wait => {}
                Remedy::MakeRoom => return Err(Error::NoSpace(self.server(error).to_string())),
                Remedy::None => return Err(self.server(error).into()),
            }
            if since.elapsed() > AWAY_MAX {
                return Err(Fault::Away {
                    at: self.address.shown.clone(),
                    seconds: since.elapsed().as_secs(),
                    source: error,
                }
                .into());
            }
            if pause == PAUSE_MIN {
                warn!(at = self.address.shown, %error, "redis: asked again");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    fn server(&self, source: RedisError) -> Fault {
        Fault::Server {
            at: self.address.shown.clone(),
            source,
        }
    }
}
