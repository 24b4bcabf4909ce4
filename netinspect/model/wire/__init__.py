"""The few fields of Kubernetes objects that we read, under the API's own names.

Decoded straight from the API server's JSON; unknown fields are skipped.
"""

from netinspect.model.wire.app_mesh import *
from netinspect.model.wire.base import *
from netinspect.model.wire.cni import *
from netinspect.model.wire.consul import *
from netinspect.model.wire.core import *
from netinspect.model.wire.gateway import *
from netinspect.model.wire.istio import *
from netinspect.model.wire.kuma import *
from netinspect.model.wire.linkerd import *
from netinspect.model.wire.nginx import *
from netinspect.model.wire.smi import *
