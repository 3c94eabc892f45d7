//! How much of the server's certificate is believed, by the words that PostgreSQL has for it.

use crate::Error;
use crate::error::failed;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use std::sync::Arc;

/// Whether the connection is encrypted, and to whom.
#[derive(Clone, Debug)]
pub(super) enum Tls {
    /// Never.
    Off,
    /// Where the server offers it.
    Prefer(Arc<ClientConfig>),
    /// Always.
    Require(Arc<ClientConfig>),
}

impl Tls {
    /// Of `sslmode` and `sslrootcert`.
    pub(super) fn of(mode: Option<&str>, roots: Option<&str>) -> Result<Self, Error> {
        let anybody = |roots: Option<&str>| match roots {
            // With a root at hand PostgreSQL's own library looks at the chain also here.
            Some(_) => config(Trust::Chain, roots),
            None => config(Trust::Anybody, None),
        };
        match mode.unwrap_or("prefer") {
            "disable" => Ok(Self::Off),
            "prefer" | "allow" => Ok(Self::Prefer(anybody(roots)?)),
            "require" => Ok(Self::Require(anybody(roots)?)),
            "verify-ca" => Ok(Self::Require(config(Trust::Chain, roots)?)),
            "verify-full" => Ok(Self::Require(config(Trust::ChainAndName, roots)?)),
            other => Err(failed(
                format!(
                    "sslmode={other} in the URL of the store: one of disable, prefer, require, verify-ca, verify-full"
                ),
                None,
            )),
        }
    }
}

/// What is looked at.
#[derive(Clone, Copy, Debug)]
enum Trust {
    Anybody,
    Chain,
    ChainAndName,
}

fn config(trust: Trust, roots: Option<&str>) -> Result<Arc<ClientConfig>, Error> {
    let provider = Arc::new(ring::default_provider());
    let chain = match trust {
        Trust::Anybody => None,
        Trust::Chain | Trust::ChainAndName => Some(
            WebPkiServerVerifier::builder_with_provider(
                Arc::new(read(roots)?),
                Arc::clone(&provider),
            )
            .build()
            .map_err(|error| failed("sslrootcert cannot be used", Some(Box::new(error))))?,
        ),
    };
    let verifier = Verifier {
        chain,
        name: matches!(trust, Trust::ChainAndName),
        provider: Arc::clone(&provider),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| failed("TLS cannot be set up", Some(Box::new(error))))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn read(roots: Option<&str>) -> Result<RootCertStore, Error> {
    let mut store = RootCertStore::empty();
    match roots {
        None | Some("system") => {
            let found = rustls_native_certs::load_native_certs();
            store.add_parsable_certificates(found.certs);
        }
        Some(path) => {
            let unreadable = |error: rustls::pki_types::pem::Error| {
                failed(
                    format!("sslrootcert={path} cannot be read"),
                    Some(Box::new(error)),
                )
            };
            for found in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                store.add(found.map_err(unreadable)?).map_err(|error| {
                    failed(
                        format!("sslrootcert={path} has a bad certificate"),
                        Some(Box::new(error)),
                    )
                })?;
            }
        }
    }
    Ok(store)
}

/// Looks at as much as was asked for.
#[derive(Debug)]
struct Verifier {
    chain: Option<Arc<WebPkiServerVerifier>>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let looked =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match looked {
            // The name is the last that is looked at: the chain is good.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if !self.name => Ok(ServerCertVerified::assertion()),
            looked => looked,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
