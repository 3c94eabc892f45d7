//! Client of Dauer's caller API: what the `dauer` command uses, and any Rust program can.
//!
//! ```no_run
//! use dauer_client::{Client, Host, LogItem};
//! use dauer_wire::http::CreateJob;
//!
//! # async fn example() -> Result<(), dauer_client::Error> {
//! let client = Client::connect(&Host::parse("unix:///run/dauer/dauer.sock")?).await?;
//! let job = client
//!     .create(&CreateJob { argv: vec!["echo".into(), "hello".into()], ..CreateJob::default() })
//!     .await?;
//! let mut log = client.logs(&job.id, 0, true);
//! while let Some(item) = log.next().await? {
//!     match item {
//!         LogItem::Output(output) => print!("{}", String::from_utf8_lossy(&output.bytes)),
//!         LogItem::Marker { .. } => {}
//!         LogItem::End { job, .. } => println!("ended with {:?}", job.exit_code),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Each call opens its own connection: a unix socket costs microseconds, and a daemon that was restarted in between is
//! not noticed. The message types are those of [`dauer_wire::http`].

mod calls;
mod connection;
mod error;
mod exec;
mod files;
mod host;
mod logs;
mod messages;

pub use calls::{Client, EventStream, ListFilter};
pub use error::Error;
pub use exec::{ExecEvent, ExecReader, ExecSession, ExecWriter};
pub use files::ByteReader;
pub use host::Host;
pub use logs::{LogItem, LogStream, Output};
