//! Images that are not here yet: pulled, with a bar for each layer where somebody looks.

use crate::failure::{Failure, report};
use crate::registry_login;
use dauer_client::Client;
use dauer_wire::http::{CreateJob, ImageView, JobView, PullEvent, PullImage};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;

/// When the registry is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum PullPolicy {
    /// Where the node does not have the image.
    #[default]
    Missing,
    /// Each time: the name may stand for another image by now.
    Always,
    /// Not at all.
    Never,
}

/// How to ask the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Asking {
    /// For another kind of machine than this, for example linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    pub(crate) platform: Option<String>,
    /// Ask the registry over plain HTTP; one on this machine is asked that way anyhow
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// Has the daemon pull this image.
pub(crate) async fn pull(
    client: &Client,
    image: &str,
    asking: &Asking,
    quiet: bool,
) -> Result<ImageView, Failure> {
    let login = registry_login::find(image)?.unwrap_or_default();
    let call = PullImage {
        image: image.to_owned(),
        platform: asking.platform.clone(),
        insecure: asking.insecure,
        only_missing: false,
        user: login.user,
        password: Some(login.password).filter(|password| !password.is_empty()),
    };
    let mut events = client.pull_image(&call).await?;
    let mut bars = Bars::new(quiet);
    while let Some(event) = events.next().await? {
        match event {
            PullEvent::Found { layers, .. } => {
                for layer in layers {
                    bars.add(&layer.digest, layer.bytes);
                }
            }
            PullEvent::Came { layer, bytes } => bars.came(&layer, bytes),
            PullEvent::Unpacking { layer } => bars.say(&layer, "unpacking"),
            PullEvent::Ready { layer, present } => bars.end(&layer, present),
            PullEvent::Done { image } => return Ok(*image),
            PullEvent::Failed { problem } => return Err(Failure::new(problem.detail)),
        }
    }
    Err(Failure::new(
        "the daemon ended while it pulled the image: pull again, it goes on where it was",
    ))
}

/// Hands a job over; an image that is missing is pulled before, where that is wanted.
pub(crate) async fn create(
    client: &Client,
    job: &CreateJob,
    policy: PullPolicy,
) -> Result<JobView, Unaccepted> {
    let named = job
        .image
        .as_deref()
        .filter(|image| *image != "host" && !image.starts_with('/'));
    let Some(image) = named else {
        return Ok(client.create(job).await?);
    };
    if policy != PullPolicy::Always {
        match client.create(job).await {
            Err(error) if error.code() == Some("no_image") && policy == PullPolicy::Missing => {
                report(&format!("{image} is not here: pulling it"));
            }
            created => return Ok(created?),
        }
    }
    pull(client, image, &Asking::default(), false)
        .await
        .map_err(Unaccepted::NoImage)?;
    Ok(client.create(job).await?)
}

/// Why a job was not accepted.
pub(crate) enum Unaccepted {
    /// Its image cannot be had.
    NoImage(Failure),
    /// Anything else.
    Client(dauer_client::Error),
}

impl From<dauer_client::Error> for Unaccepted {
    fn from(error: dauer_client::Error) -> Self {
        Self::Client(error)
    }
}

/// A bar for each layer. Where standard error is no terminal nothing is shown.
struct Bars {
    all: MultiProgress,
    of: BTreeMap<String, ProgressBar>,
}

impl Bars {
    fn new(quiet: bool) -> Self {
        let all = MultiProgress::new();
        if quiet {
            all.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        Self {
            all,
            of: BTreeMap::new(),
        }
    }

    fn add(&mut self, layer: &str, bytes: u64) {
        let style = ProgressStyle::with_template(
            "{prefix} {bar:30} {binary_bytes}/{binary_total_bytes} {msg}",
        )
        .expect("invariant: the template is sound");
        let bar = self.all.add(ProgressBar::new(bytes).with_style(style));
        bar.set_prefix(
            layer
                .trim_start_matches("sha256:")
                .chars()
                .take(12)
                .collect::<String>(),
        );
        bar.set_message("waiting");
        self.of.insert(layer.to_owned(), bar);
    }

    fn came(&self, layer: &str, bytes: u64) {
        if let Some(bar) = self.of.get(layer) {
            bar.set_message("");
            bar.set_position(bytes);
        }
    }

    fn say(&self, layer: &str, what: &'static str) {
        if let Some(bar) = self.of.get(layer) {
            bar.set_message(what);
        }
    }

    fn end(&self, layer: &str, present: bool) {
        if let Some(bar) = self.of.get(layer) {
            bar.set_position(bar.length().unwrap_or_default());
            bar.set_message(if present { "was here" } else { "ready" });
            bar.tick();
        }
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in self.of.values() {
            bar.finish_and_clear();
        }
    }
}
