//! What subscriptions deliver through, made as the configuration allows.

use eventrelay_delivery::{BuildTarget, Target};
use eventrelay_sinks::{Environment, SinkError};
use eventrelay_state::{Origin, Subscription};

use super::settings;
use crate::Config;

/// Makes targets of this relay's log.
pub(super) struct Targets {
    log_id: [u8; 16],
    config: Config,
    through_api: Environment,
}

impl Targets {
    pub(super) fn new(config: &Config, log_id: [u8; 16]) -> Self {
        Self { log_id, config: config.clone(), through_api: settings::sink_environment(config, Origin::Api) }
    }
}

impl BuildTarget for Targets {
    fn build(&self, spec: &Subscription, origin: Origin) -> Result<Target, SinkError> {
        match origin {
            Origin::Configuration => {
                let environment = settings::declared_environment(&self.config, spec);
                settings::build_target(spec, self.log_id, &environment)
            }
            Origin::Api => {
                let environment = settings::of_tenant(&self.through_api, spec.tenant.as_str());
                settings::build_target(spec, self.log_id, &environment)
            }
        }
    }
}
