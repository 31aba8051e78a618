"""Named hyper-parameters per task. `paper`: Table 4 of the paper to the letter, as a literal to be checked by eye.

Table 4 gives EmpDial EI, EmpDial Role and News Empathy eleven epochs, though Appendix C says that models ran for ten.
"""

from __future__ import annotations

from collections.abc import Mapping


def _row(epochs: int, batch_size: int, lr: float) -> Mapping[str, int | float]:
    return {"epochs": epochs, "batch_size": batch_size, "lr": lr}


PRESETS: Mapping[str, Mapping[str, Mapping[str, int | float]]] = {
    "paper": {
        "condolence": _row(8, 32, 0.00028),
        "conv_emoint": _row(7, 54, 0.00083),
        "conv_emopol": _row(8, 32, 0.00093),
        "conv_empathy": _row(8, 31, 0.00083),
        "empdial_ei": _row(11, 44, 0.00073),
        "empdial_emo": _row(9, 18, 0.00069),
        "empdial_role": _row(11, 12, 0.00086),
        "hope": _row(7, 47, 0.00064),
        "epitome_er": _row(7, 42, 0.00041),
        "epitome_ex": _row(10, 34, 0.00090),
        "epitome_ip": _row(9, 22, 0.00078),
        "empdial_qact": _row(8, 24, 0.00056),
        "empdial_qint": _row(10, 52, 0.00078),
        "mi_adherent": _row(8, 10, 0.00076),
        "mi_behavior": _row(10, 30, 0.00048),
        "news_distress": _row(6, 30, 0.00087),
        "news_emotion": _row(6, 15, 0.00043),
        "news_empathy": _row(11, 14, 0.00045),
    },
}
