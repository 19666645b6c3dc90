"""What do other programs call the flags and values of this one?

Names that users of TensorFlow, Keras, PyTorch and Slurm bring along, and what they mean here. The hints
of error messages consult these tables before they look for a similar spelling.
"""

# Other names for flags -> the flags here, without dashes. A verb takes the first one that it has.
_FLAGS = {
    "checkpoint_dir ckpt_dir job_dir log_dir logdir model_dir output_dir save_dir": ("workdir",),
    "job_name task_id task_index task_type": ("task",),
    "cluster_spec ps_hosts worker_hosts": ("cluster",),
    "distribution_strategy": ("strategy",),
    "gpus n_gpus ngpus num_gpus num_devices": ("devices", "devices_per_worker"),
    "tpu_name": ("tpu",),
    "nnodes nproc_per_node num_nodes num_workers workers": ("workers", "workers_per_trial"),
    "num_ps ps": ("ps", "ps_per_trial"),
    "global_step step": ("checkpoint", "config.train.steps"),
    "batch_size": ("config.data.global_batch_size",),
    "data_dir dataset_dir": ("config.data.dir",),
    "data dataset dataset_name": ("config.data.name",),
    "hidden_layers hidden_size": ("config.model.hidden_units",),
    "learning_rate lr": ("config.optimizer.learning_rate",),
    "clip_norm clipnorm grad_clip": ("config.optimizer.global_clipnorm",),
    "optimizer": ("config.optimizer.name",),
    "epochs max_epochs num_epochs": ("config.train.epochs",),
    "max_steps num_steps steps steps_per_epoch train_steps": ("config.train.steps",),
    "save_checkpoints_steps save_steps": ("config.train.checkpoint_every_steps",),
    "random_seed seed": ("config.train.seed",),
    "num_trials trials": ("max_trials",),
    "cv k_folds kfolds n_folds n_splits num_folds": ("folds", "config.data.folds"),
    "class_weight class_weights": ("config.data.class_weights",),
    "sample_weight sample_weights": ("config.data.example_weights",),
    "metric": ("objective",),
}
FLAG_SYNONYMS = {name: here for names, here in _FLAGS.items() for name in names.split()}

# Other names for strategies, in lower case without punctuation, as `Field` compares them.
STRATEGY_SYNONYMS = {
    **dict.fromkeys(("dataparallel", "dp", "mirroredstrategy", "onedevicestrategy"), "mirrored"),
    **dict.fromkeys(
        (
            "ddp",
            "distributeddataparallel",
            "collectiveallreducestrategy",
            "horovod",
            "multiworkermirrored",
            "multiworkermirroredstrategy",
        ),
        "multi_worker",
    ),
    **dict.fromkeys(("ps", "parameterserverstrategy", "psstrategy"), "parameter_server"),
    "tpustrategy": "tpu",
}

# Keras's names of figures.
OBJECTIVE_SYNONYMS = {
    "val_accuracy": "validation_accuracy",
    "val_loss": "validation_loss",
    "val_mae": "validation_mean_absolute_error",
    "val_mean_absolute_error": "validation_mean_absolute_error",
}
