//! Many scenes with one broker, each with an exchange and queues of its own.

use crate::{broker, checking, delivering, refusing};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_for_many_scenes() {
    let Some((component, management)) = broker::start() else { return };
    // Before anything else, for it looks at the whole log.
    delivering::neither_secrets_nor_events_are_logged(&component, management).await;
    delivering::a_batch_arrives_in_its_order_with_all_that_the_events_have(&component, management).await;
    delivering::a_structured_message_is_the_event(&component, management).await;
    delivering::many_batches_at_once_share_one_connection(&component, management).await;
    delivering::a_delivery_that_is_dropped_halfway_can_be_repeated(&component, management).await;
    refusing::what_is_returned_is_refused_and_nothing_else(&component, management).await;
    refusing::without_mandatory_nothing_is_returned(&component, management).await;
    refusing::a_full_queue_is_waited_for(&component, management).await;
    refusing::a_missing_exchange_is_waited_for_and_holds_up_no_other(&component, management).await;
    refusing::a_missing_right_is_waited_for(&component, management).await;
    refusing::what_is_too_large_is_refused_alone(&component, management).await;
    checking::what_is_there_is_found_and_what_is_not_is_named(&component, management).await;
    checking::logins_and_rights_are_told_apart(&component, management).await;
}
