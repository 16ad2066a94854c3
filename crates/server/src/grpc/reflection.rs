//! Server reflection, so that `grpcurl list` and generic clients work without the files of `proto/`: version 1, and
//! version 1alpha for older clients.

use std::fmt;
use std::pin::Pin;

use http::{Request, Response};
use tonic::body::Body;
use tonic::codegen::Service;
use tonic_reflection::server::{Builder, Error};

use super::method::Method;
use super::upload::Upload;
use crate::proto::DESCRIPTORS;

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Service1 = Box<dyn Fn(Request<Upload>) -> Answering + Send + Sync>;

/// Answers what there is.
pub(crate) struct Reflection {
    version_1: Service1,
    version_1_alpha: Service1,
}

impl Reflection {
    /// # Errors
    /// When the contracts that are compiled in contradict each other.
    pub(crate) fn new() -> Result<Self, Error> {
        Ok(Self {
            version_1: boxed(builder().build_v1()?),
            version_1_alpha: boxed(builder().build_v1alpha()?),
        })
    }

    pub(crate) async fn answer(&self, method: Method, request: Request<Upload>) -> Response<Body> {
        let service = if method == Method::ReflectionAlpha { &self.version_1_alpha } else { &self.version_1 };
        service(request).await
    }
}

impl fmt::Debug for Reflection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reflection").finish_non_exhaustive()
    }
}

fn builder() -> Builder<'static> {
    Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}

/// The service without its type, which has no name.
fn boxed<S>(service: S) -> Service1
where
    S: Service<Request<Upload>, Response = Response<Body>, Error = std::convert::Infallible>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    Box::new(move |request| {
        let mut service = service.clone();
        Box::pin(async move {
            match service.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        })
    })
}
