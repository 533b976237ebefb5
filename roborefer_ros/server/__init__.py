# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""One model, many clients: the HTTP server and its command-line client."""
