//! Two people with matrix-rust-sdk, what Element X is made of: sliding sync on two connections.
//!
//! By hand, since it takes a long while to build: on an instance with the accounts alice and bob
//! (password "sesame"), `cargo run -- http://127.0.0.1:8008 one.test`.

use std::{env, time::Duration};

use matrix_sdk::{
    ruma::{
        api::client::room::create_room::v3::{Request as CreateRoom, RoomPreset},
        events::room::message::{OriginalSyncRoomMessageEvent, RoomMessageEventContent},
        UserId,
    },
    sliding_sync::VersionBuilder,
    Client, RoomState,
};
use matrix_sdk_ui::sync_service::SyncService;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(30);

async fn person(url: &str, name: &str) -> anyhow::Result<Client> {
    let client = Client::builder()
        .homeserver_url(url)
        .respect_login_well_known(false)
        .sliding_sync_version_builder(VersionBuilder::DiscoverNative)
        .build()
        .await?;
    client.matrix_auth().login_username(name, "sesame").send().await?;
    Ok(client)
}

async fn until(what: &str, look: impl Fn() -> bool) -> anyhow::Result<()> {
    let found = timeout(PATIENCE, async {
        while !look() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    found.await.map_err(|_| anyhow::anyhow!("waited in vain for {what}"))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let (url, server) = (arguments.next().unwrap(), arguments.next().unwrap());
    let (alice, bob) = (person(&url, "alice").await?, person(&url, "bob").await?);
    let (said, mut heard) = mpsc::unbounded_channel();
    bob.add_event_handler(move |event: OriginalSyncRoomMessageEvent| {
        let said = said.clone();
        async move { drop(said.send(event.content.body().to_owned())) }
    });
    for client in [&alice, &bob] {
        SyncService::builder(client.clone()).build().await?.start().await;
    }

    let mut request = CreateRoom::new();
    request.name = Some("Rust".to_owned());
    request.preset = Some(RoomPreset::PrivateChat);
    request.invite = vec![UserId::parse(format!("@bob:{server}"))?];
    let room = alice.create_room(request).await?;
    room.enable_encryption().await?;
    let state = || bob.get_room(room.room_id()).map(|theirs| theirs.state());
    until("the invite", || state() == Some(RoomState::Invited)).await?;
    let theirs = bob.get_room(room.room_id()).unwrap();
    theirs.join().await?;
    until("the join", || state() == Some(RoomState::Joined)).await?;
    until("the name", || theirs.name().as_deref() == Some("Rust")).await?;
    until("the newcomer", || room.joined_members_count() == 2).await?;

    room.send(RoomMessageEventContent::text_plain("Between us.")).await?;
    let text = timeout(PATIENCE, heard.recv()).await?;
    assert_eq!(text.as_deref(), Some("Between us."));
    assert!(theirs.latest_encryption_state().await?.is_encrypted());
    theirs.leave().await?;
    until("the leave", || state() != Some(RoomState::Joined)).await?;

    println!("all is well");
    Ok(())
}
