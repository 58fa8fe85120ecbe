//! The recipe: what it chooses from the data, its bounds, and its way through TOML.

use odc_data::Step;
use odc_trainer::{Method, Recipe};

/// Why a recipe with this setting is refused for 1,000 images.
fn refusal(setting: &str) -> String {
    let mut recipe = Recipe::from_toml("of the test", "", &[setting.to_owned()]).expect("a recipe");
    recipe.resolve_sizes(1000);
    recipe.check(1000).expect_err(setting).to_string()
}

#[test]
fn numbers_beyond_their_bounds_are_refused_by_name() {
    for (setting, bound) in [
        ("memory.reweight_power=4.5", "between 0 and 4"),
        ("memory.momentum=0", "above 0 and at most 1"),
        ("memory.momentum=nan", "above 0 and at most 1"),
        ("memory.centroid_every=0", "between 1 and"),
        ("memory.clusters=1001", "at most N = 1000"),
        ("data.side=4", "between 8 and 4096"),
        ("deepcluster.pca_dim=0", "between 1 and"),
        ("data.max_bad_share=1.5", "between 0 and 1"),
        ("data.std=[0.2, 0.0, 0.2]", "positive"),
        ("model.dropout=1.0", "between 0 and 0.999"),
        ("optimizer.decay_at=[1.5]", "from 0 to 1"),
        ("training.batch_size=1001", "at most N = 1000"),
        ("training.log_every=0", "between 1 and"),
        ("evaluation.temperature=0", "between 0.001 and 1000"),
    ] {
        let said = refusal(setting);
        let (table, key) = setting.split('=').next().and_then(|name| name.split_once('.')).expect("table.key");
        assert!(said.contains(table) && said.contains(key) && said.contains(bound), "{setting}: {said}");
    }
}

#[test]
fn the_largest_numbers_that_are_allowed_go_through_toml() {
    let mut recipe = Recipe { seed: i64::MAX as u64, ..Recipe::default() };
    recipe.training.log_every = i64::MAX as u64;
    recipe.training.checkpoint_every = i64::MAX as u64;
    recipe.memory.centroid_every = i64::MAX as u64;
    recipe.memory.reweight_power = 4.0;
    recipe.resolve_sizes(1000);
    recipe.check(1000).expect("within the bounds");
    assert_eq!(Recipe::from_toml("again", &recipe.to_toml(), &[]).expect("reads"), recipe);
    // TOML has no larger integers: a recipe that held one could not be stored.
    let beyond = Recipe { seed: i64::MAX as u64 + 1, ..recipe };
    assert!(beyond.check(1000).expect_err("refused").to_string().contains("seed"));
}

#[test]
fn clusters_threshold_and_batch_follow_the_number_of_images() {
    for (n_samples, side, clusters, min_cluster, batch_size) in [
        (20, 32, 2, 2, 2),
        (250, 224, 10, 5, 31),
        (4800, 32, 48, 20, 128),
        (10_000, 224, 100, 20, 32),
        (1_281_167, 64, 10_000, 20, 128),
    ] {
        let mut recipe = Recipe::default();
        recipe.data.side = Some(side);
        recipe.resolve_sizes(n_samples);
        let chosen = (recipe.n_clusters(), recipe.memory.min_cluster, recipe.batch_size());
        assert_eq!(chosen, (clusters, Some(min_cluster), batch_size), "N = {n_samples}");
        recipe.check(n_samples).expect("what is chosen fits");
    }
    // What is set stays, and the rest follows it.
    let mut recipe = Recipe::default();
    recipe.memory.clusters = Some(500);
    recipe.resolve_sizes(10_000);
    assert_eq!((recipe.n_clusters(), recipe.memory.min_cluster), (500, Some(4)));
}

#[test]
fn crops_keep_a_fifth_of_the_area_unless_told_otherwise() {
    let first = |recipe: Recipe| recipe.data.augmentation.into_iter().next();
    let Some(Step::RandomResizedCrop { scale, .. }) = first(Recipe::default()) else { panic!("a crop comes first") };
    assert_eq!(scale, [0.2, 1.0]);
    let smaller = r#"data.augmentation=[{ step = "random_resized_crop", scale = [0.08, 1.0] }]"#;
    let recipe = Recipe::from_toml("of the test", "", &[smaller.to_owned()]).expect("a recipe");
    let Some(Step::RandomResizedCrop { scale, .. }) = first(recipe) else { panic!("a crop comes first") };
    assert_eq!(scale, [0.08, 1.0]);
}

fn with(settings: &[&str]) -> Result<Recipe, odc_trainer::TrainerError> {
    let settings: Vec<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
    Recipe::from_toml("of the test", "", &settings)
}

#[test]
fn recipes_without_a_method_are_of_online_deep_clustering() {
    let recipe = Recipe::from_toml("old", "seed = 3\n[memory]\nclusters = 7\n", &[]).expect("a recipe");
    assert_eq!((recipe.method, recipe.n_clusters()), (Method::Odc, 7));
    for method in Method::ALL {
        let recipe = with(&[&format!("method={method}")]).expect("a recipe");
        assert_eq!((recipe.method, method.name().parse()), (method, Ok(method)));
        assert_eq!(Recipe::from_toml("again", &recipe.to_toml(), &[]).expect("reads"), recipe);
    }
    let error = with(&["method=swav"]).expect_err("no such method").to_string();
    assert!(error.contains("swav") && error.contains("deepcluster") && error.contains("rotation"), "{error}");
    let error = with(&["deepcluster.balance=none"]).expect_err("no such balance").to_string();
    assert!(error.contains("uniform") && error.contains("reweight"), "{error}");
    assert!(with(&["deepcluster.pca=3"]).expect_err("no such key").to_string().contains("pca_dim"));
}

#[test]
fn each_method_is_held_to_the_bounds_that_concern_it() {
    // 50 clusters of 20 need 1,000 images; K alone needs 50; rotations need none.
    for (method, images, refused) in [
        ("odc", 999, true),
        ("odc", 1000, false),
        ("deepcluster", 49, true),
        ("deepcluster", 50, false),
        ("rotation", 10, false),
    ] {
        let mut recipe = with(&[
            &format!("method={method}"),
            "memory.clusters=50",
            "memory.min_cluster=20",
            "training.batch_size=8",
        ])
        .expect("a recipe");
        recipe.resolve_sizes(images);
        let checked = recipe.check(images);
        assert_eq!(checked.is_err(), refused, "{method}, {images}: {checked:?}");
        if let Err(error) = checked {
            assert!(error.to_string().contains("cluster"), "{error}");
        }
    }
}
