//! Images of a node.

use crate::calls::{JsonLines, escape, json, parsed, streamed};
use crate::connection::{self, whole};
use crate::{Client, Error};
use bytes::Bytes;
use dauer_wire::http::{
    DiskView, ImageList, ImageView, MakeDisk, PruneImages, PrunedImages, PullEvent, PullImage,
    RemovedImage,
};
use futures_util::Stream;
use http::Method;
use std::io;

/// How to import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportWish {
    /// What the image is to be called.
    pub name: Option<String>,
    /// Which one of an archive, such as `linux/amd64`.
    pub platform: Option<String>,
    /// It is a root file system whatever is in it.
    pub root: bool,
}

/// How far a pull is, until its end.
pub type PullEvents = JsonLines<PullEvent>;

impl Client {
    /// The node's images, the newest first.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn images(&self) -> Result<ImageList, Error> {
        self.get("/v1/images").await
    }

    /// One image: by name, by digest, or by the beginning of that.
    ///
    /// # Errors
    /// [`Error::Refused`] with `no_image`.
    pub async fn image(&self, image: &str) -> Result<ImageView, Error> {
        self.get(&path(image, "")).await
    }

    /// Has an image pulled. It goes on as long as somebody reads the events.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid`; what goes wrong later is the last event.
    pub async fn pull_image(&self, pull: &PullImage) -> Result<PullEvents, Error> {
        let request = self.request(Method::POST, "/v1/images:pull", json(pull)?)?;
        let response = connection::call(&self.host, request).await?;
        Ok(JsonLines::new(response.into_body()))
    }

    /// Imports what is in a tar: a root file system or an archive of images.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid`, `no_space`; [`Error::Input`] from `tar`.
    pub async fn import_images(
        &self,
        wish: &ImportWish,
        tar: impl Stream<Item = io::Result<Bytes>> + Send + 'static,
    ) -> Result<ImageList, Error> {
        let mut target = format!("/v1/images:import?root={}", wish.root);
        for (key, value) in [("name", &wish.name), ("platform", &wish.platform)] {
            if let Some(value) = value {
                target.push_str(&format!("&{key}={}", escape(value)));
            }
        }
        let request = self.request(Method::POST, &target, streamed(tar))?;
        parsed(connection::call(&self.host, request).await?.into_body()).await
    }

    /// Removes a name, and the image with it where that was its last; all of it with `force`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `no_image`, `conflict` where something uses it.
    pub async fn remove_image(&self, image: &str, force: bool) -> Result<RemovedImage, Error> {
        let target = path(image, &format!("?force={force}"));
        let request = self.request(Method::DELETE, &target, whole(Bytes::new()))?;
        parsed(connection::call(&self.host, request).await?.into_body()).await
    }

    /// Removes images that nothing uses: those without a name, or all.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn prune_images(&self, all: bool) -> Result<PrunedImages, Error> {
        self.post("/v1/images:prune", &PruneImages { all }).await
    }

    /// One read-only file of an image, for virtual machines.
    ///
    /// # Errors
    /// [`Error::Refused`] with `no_image`, `unsupported`.
    pub async fn image_disk(&self, image: &str, kind: Option<String>) -> Result<DiskView, Error> {
        self.post(&path(image, "/disk"), &MakeDisk { kind }).await
    }
}

fn path(image: &str, rest: &str) -> String {
    format!("/v1/images/{}{rest}", escape(image))
}
