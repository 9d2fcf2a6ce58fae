"""The same as for the bme680: both references know both chips."""

import pathlib
import runpy

globals().update(runpy.run_path(str(pathlib.Path(__file__).with_name("reference_bme680.py"))))
