"""The public names, each once and where it is defined: for type checkers, and for `__init__.py` to import."""

from .engine.attribution.explainer import Explainer as Explainer
from .engine.attribution.explainer import Explanation as Explanation
from .engine.attribution.scored.every import EveryClass as EveryClass
from .engine.autodiff.forward import hvp as hvp
from .engine.autodiff.forward import jvp as jvp
from .engine.autodiff.gradient import gradient as gradient
from .engine.autodiff.jacobian import jacobian as jacobian
from .engine.errors import OnnxlensError as OnnxlensError
from .engine.runtime.network import Network as Network
from .models.attribution.occlusion import occlusion as occlusion
from .models.attribution.projection import project as project
from .models.attribution.projection import project_layer as project_layer
from .models.dreams.ascent import Ascent as Ascent
from .models.dreams.dream import dream as dream
from .models.dreams.dream import film as film
from .models.dreams.imagine import imagine as imagine
from .models.features.responses import responses as responses
from .models.features.top import top as top
from .models.features.weights import weights as weights
from .models.lens import Lens as Lens
from .models.maps.attribution import Attribution as Attribution
from .models.maps.attribution import HeatMap as HeatMap
from .models.maps.found import Found as Found
from .models.maps.prediction import Prediction as Prediction
from .models.photos.photo import read_photo as read_photo
from .models.photos.preprocess import Preprocess as Preprocess
from .models.report.report import report as report
from .models.runs.merge import merge as merge
from .models.runs.run import run as run
from .models.runs.verify import verify as verify

__version__: str
