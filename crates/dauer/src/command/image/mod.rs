//! `dauer image`: what sandboxes have as their root.

mod import;

use crate::context::Context;
use crate::failure::Outcome;
use crate::pulling::{self, Asking};
use crate::render;
use dauer_wire::http::{ImageList, ImageView};

/// Digits of a digest that people read.
const SHORT: usize = 12;

/// What there is to read of an image's names in a table.
const NONE: &str = "<none>";

/// Pull, import, list and remove images
///
/// An image is the read-only root of sandboxes. It is named by its name, by its digest, or by a beginning of its digest. Layers that several images have are on disk once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer image pull debian:12
  docker save team/tool:1 | dauer image import -
  dauer image import rootfs.tar.gz mine:1
  dauer image ls
  dauer run --image mine:1 -- cat /etc/os-release")]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Pull(PullArgs),
    Import(import::Args),
    /// List images, the newest first
    Ls {
        /// Only digests, one a line
        #[arg(short, long)]
        quiet: bool,
        /// As JSON
        #[arg(long, conflicts_with = "quiet")]
        json: bool,
    },
    /// Show images as JSON, with what they say of commands, environment, folder and user
    Inspect {
        /// Their names or digests
        #[arg(value_name = "IMAGE", required = true)]
        images: Vec<String>,
    },
    Rm(RmArgs),
    Prune(PruneArgs),
    Disk(DiskArgs),
}

/// Get images from a registry.
///
/// Logins are those of `docker login` and `podman login`. A pull that breaks off goes on where it was. Prints the digest of each image.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer image pull debian:12
  dauer image pull registry.example.com/team/tool@sha256:2c26…
  dauer image pull --platform linux/arm64 alpine")]
struct PullArgs {
    #[command(flatten)]
    asking: Asking,
    /// Show no progress
    #[arg(short, long)]
    quiet: bool,
    /// Print the images as JSON
    #[arg(long)]
    json: bool,
    /// Their names
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
}

/// Remove images, or one of their names where they have several.
///
/// An image that a job or a schedule has is not removed: the message names them.
#[derive(Debug, clap::Args)]
struct RmArgs {
    /// The image with all its names
    #[arg(short, long)]
    force: bool,
    /// Their names or digests
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<String>,
}

/// Remove images that have no name and that nothing uses.
#[derive(Debug, clap::Args)]
struct PruneArgs {
    /// Also images that have names
    #[arg(short, long)]
    all: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Make one read-only file of an image, for virtual machines; prints where it is.
#[derive(Debug, clap::Args)]
struct DiskArgs {
    /// The file system in it: erofs is smaller, ext4 is read by every kernel
    #[arg(long, value_name = "ext4|erofs", default_value = "ext4", value_parser = ["ext4", "erofs"])]
    kind: String,
    /// Its name or digest
    #[arg(value_name = "IMAGE")]
    image: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let what = match args.what {
        What::Import(args) => return import::run(args, context).await,
        other => other,
    };
    let client = context.client().await?;
    match what {
        What::Import(_) => {}
        What::Pull(args) => {
            for name in &args.names {
                let image =
                    pulling::pull(&client, name, &args.asking, args.quiet || args.json).await?;
                if args.json {
                    render::print_json(&image)?;
                } else {
                    render::print(&format!("{}\n", image.digest))?;
                }
            }
        }
        What::Ls { quiet, json } => show(&client.images().await?, quiet, json)?,
        What::Inspect { images } => {
            for image in images {
                render::print_json(&client.image(&image).await?)?;
            }
        }
        What::Rm(args) => {
            for image in args.images {
                let gone = client.remove_image(&image, args.force).await?;
                for name in gone.untagged {
                    render::print(&format!("untagged {name}\n"))?;
                }
                if let Some(digest) = gone.removed {
                    render::print(&format!("removed {digest}\n"))?;
                }
            }
        }
        What::Prune(args) => {
            let pruned = client.prune_images(args.all).await?;
            if args.json {
                render::print_json(&pruned)?;
            } else {
                for digest in &pruned.removed {
                    render::print(&format!("removed {digest}\n"))?;
                }
                render::print(&format!("freed {}\n", render::size(pruned.freed_bytes)))?;
            }
        }
        What::Disk(args) => {
            let disk = client.image_disk(&args.image, Some(args.kind)).await?;
            render::print(&format!("{}\n", disk.path))?;
        }
    }
    Ok(0)
}

fn show(list: &ImageList, quiet: bool, json: bool) -> Result<(), crate::failure::Failure> {
    if json {
        return render::print_json(list);
    }
    if quiet {
        let digests: String = list
            .images
            .iter()
            .map(|image| format!("{}\n", image.digest))
            .collect();
        return render::print(&digests);
    }
    let mut table = render::table(&["NAME", "DIGEST", "PLATFORM", "ADDED", "SIZE"]);
    for image in &list.images {
        for name in names(image) {
            table.add_row([
                name,
                short(&image.digest).to_owned(),
                image.platform.clone(),
                render::time(image.added_at),
                render::size(image.unpacked_bytes),
            ]);
        }
    }
    render::print(&render::trimmed(&table))
}

fn names(image: &ImageView) -> Vec<String> {
    if image.names.is_empty() {
        return vec![NONE.to_owned()];
    }
    image.names.clone()
}

fn short(digest: &str) -> &str {
    let hex = digest.trim_start_matches("sha256:");
    hex.get(..SHORT).unwrap_or(hex)
}
