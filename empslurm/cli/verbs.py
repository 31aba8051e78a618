"""The verbs as a table: what `empslurm --help` lists, and the module of `empslurm.cli` that each one is in."""

from __future__ import annotations

from dataclasses import dataclass

# group -> heading in `empslurm --help`, in this order
GROUPS = {
    "study": "run a study",
    "look": "look at a study",
    "data": "data",
    "share": "share a study",
    "tools": "tools",
}


@dataclass(frozen=True)
class Verb:
    """A verb. Its module has `arguments` and `run`, and is imported only when the verb is called."""

    module: str
    line: str  # for `empslurm --help`; starts with a verb, no full stop
    group: str  # a key of GROUPS
    examples: tuple[str, ...]  # commands, as a user types them
    about: str = ""  # full sentences for the verb's own --help; empty: `line`


VERBS: dict[str, Verb] = {
    "init": Verb(
        module="init",
        line="write a new folder with a study that runs at once",
        group="study",
        examples=("empslurm init my-study", "empslurm init --from full-grid.zip my-continuation"),
        about="Write a new folder with a manifest, two profiles, and two cards with their tables: a study of invented "
        "tasks that runs at once. Replace its cards and tables by your own. With --from, write the study of a bundle "
        "instead, to continue it.",
    ),
    "suggest": Verb(
        module="suggest",
        line="rank the sources of a target before transfers are trained",
        group="study",
        examples=(
            "empslurm suggest news_empathy --from full_grid",
            "empslurm suggest kite_mood --card cards/kites.yaml --from full_grid --write manifests/next.yaml",
            "empslurm suggest news --from results.csv",
        ),
        about="Rank the sources of a target from the results of finished grids and from their adapters, before "
        "transfers are trained: expected improvement, its 90 % interval and the reasons. The adapters read the "
        "target's training "
        "texts; nothing is trained. A second table shows how well simpler ways would have chosen for other targets.",
    ),
    "plan": Verb(
        module="plan",
        line="show every cell and what submit would do with it",
        group="study",
        examples=(
            "empslurm plan full_grid",
            "empslurm plan full_grid --profile example-single-gpu --budget 40h",
            "empslurm plan full_grid --detect 0.02",
        ),
        about="Show what a manifest asks for: every cell, whether submit would run, reuse or skip it, and why. Nothing "
        "is written and nothing runs.",
    ),
    "prepare": Verb(
        module="prepare",
        line="download the backbone, parse and tokenise the data",
        group="study",
        examples=("empslurm prepare full_grid",),
        about="Do once, on the login node, everything that needs network access or that all jobs share: download the "
        "backbone, parse the data and tokenise it. `submit` does this too.",
    ),
    "submit": Verb(
        module="submit",
        line="run the missing cells, here or on a cluster",
        group="study",
        examples=(
            "empslurm submit demo --profile local",
            "empslurm submit full_grid --profile example-single-gpu",
            "empslurm submit full_grid --profile example-single-gpu --budget 40h",
        ),
        about="Run every cell that has no result yet, on this machine or as Slurm jobs. Interrupted cells go on from "
        "their checkpoints. Failed cells are left out: `resume` runs them too. With --budget, run only the most "
        "informative cells, as many as these hours pay for.",
    ),
    "resume": Verb(
        module="submit",
        line="run the missing cells, and the failed ones again",
        group="study",
        examples=("empslurm resume full_grid --profile example-single-gpu",),
        about="Run every cell that has no result yet, as `submit` does, and run failed cells again too.",
    ),
    "cancel": Verb(
        module="cancel",
        line="end queued and running jobs, keep what they saved",
        group="study",
        examples=("empslurm cancel full_grid",),
        about="End the queued and running jobs of a manifest, and its processes on this machine. Results and "
        "checkpoints stay, and the next `submit` goes on from them.",
    ),
    "gather": Verb(
        module="gather",
        line="write the tables, tests and figures of the results so far",
        group="study",
        examples=(
            "empslurm gather full_grid",
            "empslurm gather full_grid --tables",
            "empslurm gather --results north.csv south.csv ../east/runs --out pooled",
        ),
        about="Verify the results so far, write tables, tests, figures and a page of them, and say what is missing. "
        "It may run at any time, also while cells are training.",
    ),
    "import": Verb(
        module="import_runs",
        line="take finished cells of other runs roots into this one",
        group="study",
        examples=(
            "empslurm import /scratch/other/runs --dry-run",
            "empslurm --runs runs import ../north/runs ../south/bundle.zip",
        ),
        about="Verify the finished cells of other runs roots or bundles, and link or copy those that are not here yet, "
        "with their seals. Nothing is overwritten. A later `submit` and `gather` treat them as their own.",
    ),
    "status": Verb(
        module="status",
        line="show how many cells are done, running or failed, and why",
        group="look",
        examples=("empslurm status full_grid", "empslurm status full_grid --watch"),
        about="Show the cells of a manifest by state and target, the running ones with their progress, and the "
        "failures with their reasons. It reads the runs root and asks Slurm.",
    ),
    "show": Verb(
        module="cell",
        line="show everything that is known about a cell",
        group="look",
        examples=("empslurm show epitome_er-s1", "empslurm show 1234_7"),
        about="Show the state of a cell, its scores, its last failure and every field of its identity.",
    ),
    "logs": Verb(
        module="cell",
        line="print the log of a cell",
        group="look",
        examples=("empslurm logs epitome_er-s1 --follow", "empslurm logs 1234_7"),
        about="Print the log of the newest process that ran a cell, or of the Slurm job that you name. The other cells "
        "that this process trained are in it too.",
    ),
    "explain": Verb(
        module="explain",
        line="show in which fields two cells, or two manifests, differ",
        group="look",
        examples=(
            "empslurm explain epitome_er-s1 epitome_er-s2",
            "empslurm explain epitome_er-s1 epitome_er-s2 --manifest full_study",
            "empslurm explain full_grid full_study",
        ),
        about="Show the fields in which the identities of two cells differ: why they are two cells and not one. Of two "
        "manifests, show how many cells they share, and in which fields the others differ.",
    ),
    "debug": Verb(
        module="debug",
        line="train a cell for a few steps in this process; keep nothing",
        group="look",
        examples=("empslurm debug demo", "empslurm debug full_grid --cell epitome_er-s1 --steps 5"),
        about="Train one cell for a few steps in this process, so that tracebacks and breakpoint() work. The runs root "
        "stays unchanged.",
    ),
    "data": Verb(
        module="data",
        line="check, fetch, prepare and audit the datasets; write a sample",
        group="data",
        examples=("empslurm data status", "empslurm data fetch epitome"),
        about="Check which datasets are here, download them, parse and tokenise them, count them, look for leakage, or "
        "write a small invented corpus.",
    ),
    "bundle": Verb(
        module="bundle",
        line="write a study into one folder or zip file for others",
        group="share",
        examples=(
            "empslurm bundle full_grid --to full-grid.zip",
            "empslurm bundle full_grid --to full-grid --with adapters --author 'Family, Given' --dry-run",
        ),
        about="Write the manifest, cards, results, predictions, provenance, tables and figures of a study into one "
        "folder or zip file (an RO-Crate), with metadata for a deposit. It never holds a text of the data. Others "
        "gather it without the data, check it, and continue it.",
    ),
    "demo": Verb(
        module="demo",
        line="try everything on a small invented corpus, in a few minutes",
        group="tools",
        examples=("empslurm --data demo-data --runs demo-runs demo",),
        about="Write a small invented corpus with a planted truth, train a grid on it, interrupt the training "
        "once, continue it, and show whether the planted effects were found. It takes a few minutes on a laptop.",
    ),
    "score": Verb(
        module="score",
        line="score texts with trained adapters",
        group="tools",
        examples=(
            "empslurm score --cells full_grid texts.csv --out scores.csv",
            "empslurm score --cells full_grid --tasks 'epitome_*' --context previous chats.jsonl",
        ),
        about="Score every text with every chosen adapter, in one pass over the texts. The seeds of a task become one "
        "measure.",
    ),
    "export": Verb(
        module="export",
        line="write adapters with model cards, and upload them",
        group="tools",
        examples=(
            "empslurm export full_grid --to exported",
            "empslurm export full_grid --tasks epitome_er --to exported --push my-org --dry-run",
        ),
        about="Write trained adapters with model cards in AdapterHub's layout, and upload them where --push is given.",
    ),
    "search": Verb(
        module="search",
        line="report a hyper-parameter search, freeze its winners",
        group="tools",
        examples=("empslurm search report search", "empslurm search freeze search --name tuned"),
        about="Report what a hyper-parameter search found so far, or write its winners to a preset that grid manifests "
        "use. Trials run with `submit`, as other cells do.",
    ),
    "profile": Verb(
        module="profile",
        line="ask the cluster and write a profile for it",
        group="tools",
        examples=("empslurm profile mine", "empslurm profile mine --partition gpu"),
        about="Ask Slurm which partitions, GPUs and limits it has, and write slurm/NAME.yaml with a reason for every "
        "choice. Run it on the login node.",
    ),
    "doctor": Verb(
        module="doctor",
        line="check Python, packages, device, Slurm, data, backbone and disk",
        group="tools",
        examples=("empslurm doctor", "empslurm doctor full_grid", "empslurm doctor --profile mine --probe"),
        about="Check Python, packages, device, Slurm, data, backbone, disk space and file permissions, and say how to "
        "solve each problem. With a manifest or a card, check only the data and backbone that it needs, and read the "
        "card's table. With --profile, also check a profile against the cluster.",
    ),
    "verify": Verb(
        module="verify",
        line="check a study: seals, scores, every printed number",
        group="tools",
        examples=("empslurm verify full_grid", "empslurm verify full_grid --retrain 3"),
        about="Check a finished study as a reviewer would: verify every seal and checksum, compute every score again "
        "from the predictions, make every table, figure and page again and compare them, and train some cells again. "
        "One page says what was checked.",
    ),
    "clean": Verb(
        module="clean",
        line="remove from the runs root what nothing needs any more",
        group="tools",
        examples=("empslurm clean --dry-run", "empslurm clean"),
        about="Remove checkpoints of finished cells, copies of the code that no job needs, tokens and parsed data that "
        "no unfinished cell needs, and leftovers of ended processes. Results, tables and logs stay.",
    ),
    "completion": Verb(
        module="completion",
        line="print the lines that let bash, zsh or fish complete words",
        group="tools",
        examples=("empslurm completion bash", "empslurm completion fish"),
        about="Print the lines that let your shell complete verbs, options, manifests, profiles and cells with the "
        'TAB key. For bash, add `eval "$(empslurm completion bash)"` to ~/.bashrc; the last line printed says how to '
        "load them in your shell.",
    ),
    "rate": Verb(
        module="rate",
        line="write forms in which raters judge tasks",
        group="tools",
        examples=(
            "empslurm rate 'epitome_*' --raters A B --to forms",
            "empslurm rate full_grid --raters ann bob --to forms",
            "empslurm rate kite_mood --card cards/kites.yaml --raters A B --to forms",
        ),
        about="Write a page for the browser, a CSV and a spreadsheet for each rater, with what is known of each task "
        "and three criteria of five levels. A rater fills one of them; `agreement` reads the filled files. No text of "
        "the data is in a form.",
    ),
    "agreement": Verb(
        module="agreement",
        line="show how far the annotators of the construct ratings agree",
        group="tools",
        examples=(
            "empslurm agreement forms/A.csv forms/B.xlsx --to ratings.csv",
            "empslurm agreement --ratings ratings.csv --level ordinal",
            "empslurm agreement",
        ),
        about="Show Krippendorff's alpha and Spearman's correlation of the construct ratings, for each aspect: of "
        "filled forms of `rate`, of a table of ratings, or of the paper's Table 2. --to writes the ratings of filled "
        "forms to one table, which `gather --ratings` reads.",
    ),
}
