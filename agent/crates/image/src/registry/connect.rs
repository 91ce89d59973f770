//! Connections: the HTTP agent with its timeouts, and TLS with the trust roots of a registry.
//!
//! The agent's own TLS takes either built-in roots or given certificates. A device needs both at once, so
//! the TLS step is ours. The interface that it implements is outside the agent's promise of compatibility;
//! the lock file holds its version. No proxy is used, and none is looked for in the environment.

use super::{RegistryError, Timeouts};
use edgelet_types::config::Registry;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::fmt;
use std::io::{Read, Write};
use std::sync::Arc;
use ureq::Agent;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector, Transport,
    TransportAdapter,
};

/// An agent for one registry, with connections of its own.
pub(super) fn agent(
    config: &Registry,
    timeouts: &Timeouts,
    user_agent: &'static str,
) -> Result<Agent, RegistryError> {
    let settings = Agent::config_builder()
        .http_status_as_error(false)
        .https_only(!config.insecure)
        // Redirects are followed by us, who know what may be sent where.
        .max_redirects(0)
        .proxy(None)
        .user_agent(user_agent)
        .timeout_resolve(Some(timeouts.connect))
        .timeout_connect(Some(timeouts.connect))
        .timeout_recv_response(Some(timeouts.answer))
        .timeout_per_read(Some(timeouts.progress))
        .timeout_per_write(Some(timeouts.progress))
        // Requests are short, and layers are read through a buffer of their own.
        .output_buffer_size(8 << 10)
        .input_buffer_size(64 << 10)
        .build();
    let tls = TlsConnector { config: Arc::new(client_config(config)?) };
    let connector = ().chain(TcpConnector::default()).chain(tls);
    Ok(Agent::with_parts(settings, connector, DefaultResolver::default()))
}

/// Where Debian, OpenEmbedded and most others keep the authorities that the owner of the device trusts.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

fn client_config(config: &Registry) -> Result<ClientConfig, RegistryError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if !config.insecure {
        // A device without this file trusts the built-in ones alone.
        if let Ok(pem) = std::fs::read(SYSTEM_AUTHORITIES) {
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok));
        }
        if let Some(path) = &config.ca {
            add_private(&mut roots, path)?;
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// A configured authority that cannot be used is an error, not a warning: without it the registry would
/// seem untrustworthy for no visible reason.
fn add_private(roots: &mut RootCertStore, path: &str) -> Result<(), RegistryError> {
    let bad = |cause: String| RegistryError::Authority { path: path.to_owned(), cause };
    let pem = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
    let mut count = 0;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| bad(error.to_string()))?;
        roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        count += 1;
    }
    match count {
        0 => Err(bad("no certificate in it".to_owned())),
        _ => Ok(()),
    }
}

/// Puts TLS on a connection when the address asks for it.
struct TlsConnector {
    config: Arc<ClientConfig>,
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host).map_err(|_| ureq::Error::Tls("bad host name"))?;
        let mut tls = ClientConnection::new(self.config.clone(), name)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        tls.complete_io(&mut socket)?;
        let buffers =
            LazyBuffers::new(details.config.input_buffer_size(), details.config.output_buffer_size());
        Ok(Some(Either::B(TlsTransport { buffers, stream: StreamOwned::new(tls, socket) })))
    }
}

impl fmt::Debug for TlsConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsConnector")
    }
}

struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        self.stream.write_all(&self.buffers.output()[..amount])?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.sock.set_timeout(timeout);
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.sock.get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").field("below", self.stream.sock.inner()).finish()
    }
}
