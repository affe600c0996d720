"""Kinds of failures that need more than a command line: the tests that make them, below tests/."""

from __future__ import annotations

ELSEWHERE = {
    "PB1301": "unit/cli/test_cli_results.py::test_a_run_is_interrupted",
    "PB6440": "unit/registry/test_registry_accounts.py::test_without_a_home_there_is_no_place",
    "PB6445": "system/test_system_store.py::test_no_store_to_read",
    "PB6609": "unit/rootfs/test_rootfs_pack.py::test_a_file_of_another_size_has_changed",
    "PB6617": "unit/context/test_context_git.py::test_references_that_are_not_there",
    "PB6619": "unit/context/test_context_git.py::test_credentials_travel_in_a_header_and_stay_out_of_messages",
    "PB6704": "unit/cli/test_cli_store.py::test_an_id_with_several_names",
    "PB6707": "unit/engine/test_engine_compression.py::test_a_zstd_base_in_dockers_format",
    "PB6712": "unit/cli/test_cli_copy.py::test_an_artifact_that_is_no_image",
    "PB6716": "unit/cli/test_cli_validate.py::test_parts_that_do_not_agree",
    "PB6720": "unit/rootfs/test_rootfs_tarwriter.py::test_nothing_is_written_that_cannot_be_read_back",
    "PB6721": "unit/rootfs/test_rootfs_tarreader.py::test_targets_of_links",
    "PB6722": "unit/rootfs/test_rootfs_diff.py::test_a_tree_too_deep_for_a_layer",
    "PB6902": "system/test_system_registries.py::test_a_registry_with_an_authority_of_its_own",
    "PB6909": "unit/registry/test_registry_pull.py::test_a_foreign_layer_whose_url_is_dead_names_the_vendor",
    "PB7102": "unit/run/test_run_snapshots.py::test_what_is_asked_for_is_not_replaced",
    "PB7103": "system/test_system_users.py::test_other_users_with_a_single_uid",
    "PB7105": "system/test_system_foreign.py::test_without_either_the_error_names_both",
    "PB7303": "system/test_system_disk.py::test_layers_that_cannot_fit_are_not_fetched",
    "PB7305": "unit/cli/test_cli_main.py::test_a_full_disk_is_no_bug",
    "PB7308": "unit/engine/test_engine_healing.py",
    "PB7309": "unit/registry/test_registry_accounts.py::test_a_file_of_somebody_else",
    "PB7310": "system/test_system_disk.py::test_damage_to_any_file",
    "PB7501": "unit/context/test_context_git.py",
    "PB7503": "system/test_system_faults.py::test_bad_statuses_on_every_verb",
    "PB7504": "system/test_system_faults.py::test_bad_statuses_on_every_verb",
    "PB6608": "unit/context/test_context_tree.py",
    "PB6908": "unit/context/test_context_http.py",
    "PB7101": "unit/run/test_run_probe.py",
    "PB6723": "unit/cache/test_cache_exchange.py",
    "PB6724": "unit/rootfs/test_rootfs_contents.py",
    "PB6714": "unit/images/test_images_hostile.py",
}
NOWHERE = ("PB7001", "PB6614", "PB6626", "PB6708", "PB7106", "PB7304")
"""What no test makes yet: bugs, and failures between two looks at the same thing."""
