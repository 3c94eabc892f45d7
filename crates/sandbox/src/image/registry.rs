//! A registry as one pull sees it.

use super::digest::Digest;
use super::manifest::{
    DOCUMENT_BYTES_MAX, Descriptor, Document, INDEX_DEPTH_MAX, Manifest, Platform, choose,
};
use super::pull::{Credentials, Pull};
use super::reference;
use crate::Error;
use futures_util::StreamExt;
use oci_client::Reference;
use oci_client::client::{BlobResponse, Client, ClientConfig, ClientProtocol, SizedStream};
use oci_client::errors::{OciDistributionError, OciErrorCode};
use oci_client::manifest::OciDescriptor;
use oci_client::secrets::RegistryAuth;
use std::io;
use std::time::Duration;

const CONNECT_MAX: Duration = Duration::from_secs(20);

/// A registry that says nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(60);

const ACCEPTED: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// One pull's view of a registry.
pub(super) struct Registry {
    client: Client,
    pub(super) reference: Reference,
    auth: RegistryAuth,
}

impl Registry {
    pub(super) fn new(pull: &Pull) -> Result<Self, Error> {
        let reference = reference::parse(&pull.name)?;
        let plain_http = pull.insecure || is_loopback(reference.resolve_registry());
        // Somebody may have chosen a provider already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(ClientConfig {
            protocol: if plain_http {
                ClientProtocol::Http
            } else {
                ClientProtocol::Https
            },
            connect_timeout: Some(CONNECT_MAX),
            read_timeout: Some(SILENCE_MAX),
            user_agent: concat!("dauer/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        })
        .map_err(|error| Error::Registry(format!("cannot ask a registry: {error}")))?;
        let auth = match &pull.credentials {
            Credentials::None => RegistryAuth::Anonymous,
            Credentials::Password { user, password } => {
                RegistryAuth::Basic(user.clone(), password.clone())
            }
            Credentials::Token(token) => RegistryAuth::Bearer(token.clone()),
        };
        Ok(Self {
            client,
            reference,
            auth,
        })
    }

    /// The manifest for this platform, whose digest was compared.
    pub(super) async fn manifest(
        &self,
        platform: &Platform,
    ) -> Result<(Digest, Vec<u8>, Manifest), Error> {
        let mut asked = self.reference.clone();
        let mut expected: Option<Digest> = asked.digest().map(str::parse).transpose()?;
        for _ in 0..INDEX_DEPTH_MAX {
            let (bytes, _) = self
                .client
                .pull_manifest_raw(&asked, &self.auth, &ACCEPTED)
                .await
                .map_err(|error| self.explain(&error))?;
            let digest = Digest::of(&bytes);
            if let Some(expected) = &expected {
                expected.check(&digest, "the image's manifest")?;
            }
            match Document::read(&bytes)? {
                Document::Image(manifest) => return Ok((digest, bytes.to_vec(), manifest)),
                Document::Index(entries) => {
                    let chosen = choose(&entries, platform)?.digest()?;
                    asked = asked.clone_with_digest(chosen.to_string());
                    expected = Some(chosen);
                }
            }
        }
        Err(Error::Invalid(
            "the image's indexes lead from one to the next without end".into(),
        ))
    }

    /// A small blob, whose digest was compared.
    pub(super) async fn document(
        &self,
        descriptor: &Descriptor,
        digest: &Digest,
    ) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut stream = self.open(descriptor, digest, 0).await?.1;
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece.map_err(|error| broken(digest, &error))?);
            if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
                return Err(Error::Invalid(
                    "the image's configuration is larger than any needs to be".into(),
                ));
            }
        }
        digest.check(&Digest::of(&bytes), "the image's configuration")?;
        Ok(bytes)
    }

    /// A blob from this place on, or from its beginning (false) where the registry cannot.
    pub(super) async fn open(
        &self,
        descriptor: &Descriptor,
        digest: &Digest,
        from: u64,
    ) -> Result<(bool, SizedStream), Error> {
        let wanted = OciDescriptor {
            media_type: descriptor.media_type.clone(),
            digest: digest.to_string(),
            size: i64::try_from(descriptor.size).unwrap_or(i64::MAX),
            // Other addresses than the registry's own are not asked: it could send us anywhere.
            urls: None,
            annotations: None,
            ..OciDescriptor::default()
        };
        self.client
            .auth(
                &self.reference,
                &self.auth,
                oci_client::RegistryOperation::Pull,
            )
            .await
            .map_err(|error| self.explain(&error))?;
        let answer = self
            .client
            .pull_blob_stream_partial(&self.reference, &wanted, from, None)
            .await;
        match answer.map_err(|error| self.explain(&error))? {
            BlobResponse::Full(stream) => Ok((from == 0, stream)),
            BlobResponse::Partial(stream) => Ok((true, stream)),
        }
    }

    /// What a user can do about it.
    fn explain(&self, error: &OciDistributionError) -> Error {
        let (name, host) = (self.reference.whole(), self.reference.resolve_registry());
        let not_allowed = || {
            Error::Registry(format!(
                "{host} does not let you pull {name}: is it there, and are you logged in (docker login {host})?"
            ))
        };
        match error {
            OciDistributionError::ImageManifestNotFoundError(_) => {
                Error::Registry(format!("there is no image {name} in {host}"))
            }
            OciDistributionError::UnauthorizedError { .. }
            | OciDistributionError::AuthenticationFailure(_) => not_allowed(),
            OciDistributionError::RegistryError { envelope, .. } => {
                let has =
                    |code: &OciErrorCode| envelope.errors.iter().any(|error| error.code == *code);
                if has(&OciErrorCode::ManifestUnknown)
                    || has(&OciErrorCode::NameUnknown)
                    || has(&OciErrorCode::NotFound)
                {
                    Error::Registry(format!("there is no image {name} in {host}"))
                } else if has(&OciErrorCode::Unauthorized) || has(&OciErrorCode::Denied) {
                    not_allowed()
                } else {
                    Error::Registry(format!("{host} refuses: {envelope}"))
                }
            }
            OciDistributionError::ServerError { code: 404, .. } => {
                Error::Registry(format!("there is no image {name} in {host}"))
            }
            other => Error::Registry(format!("cannot pull {name} from {host}: {}", chain(other))),
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) if !error.to_string().contains(&source.to_string()) => {
            format!("{error}: {}", chain(source))
        }
        Some(_) | None => error.to_string(),
    }
}

pub(super) fn broken(digest: &Digest, error: &io::Error) -> Error {
    Error::Registry(format!(
        "the transfer of {} broke off: {error}",
        digest.short()
    ))
}

/// Nobody else hears what is said to this machine itself.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
