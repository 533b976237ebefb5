# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Build of the Python package, with pip or colcon."""

from glob import glob

from setuptools import find_packages, setup

package_name = "roborefer_ros"

model = [
    "jinja2>=3.1",
    "torch>=2.6",
    "transformers>=5.6,<6",
    "safetensors>=0.4",
    "tokenizers>=0.22",
]
vlm = [*model, "torchvision>=0.21"]
remote = ["httpx>=0.27,<1", "simplejpeg>=1.7"]
sim = ["open3d>=0.19", "matplotlib>=3.7", "tqdm>=4.66"]
datagen = [*sim, "shapely>=2.1"]
train = [*vlm, "tensorboard>=2.16", "peft>=0.17", "matplotlib>=3.7"]
serve = [*remote, "fastapi>=0.115", "uvicorn>=0.30", "httptools>=0.6", "prometheus_client>=0.20"]
# rosbags reads saved goals without a ROS 2
label = [*serve, "rosbags>=0.10"]
ray = [*serve, "ray[data,serve,train]>=2.52"]
arm = ["mujoco>=3.3", "mink>=1.0", "open3d>=0.19", "tqdm>=4.66"]
evaluate = ["pyarrow>=15", "jinja2>=3.1", "matplotlib>=3.7", "tqdm>=4.66", "huggingface_hub>=0.30"]
# The name that colcon looks for: without pytest in it, `colcon test` runs nothing and is green.
test = ["pytest>=8.3", "pytest-timeout>=2.3", "hypothesis>=6.100", "psutil>=5.9"]
dev = [
    *test,
    "pytest-xdist>=3.6",
    "pytest-cov>=5",
    "rosbags>=0.10",
    "schemathesis>=4",
    "playwright>=1.45",
    "ray[data,serve,train]>=2.52",
    "tensorboard>=2.16",
    "peft>=0.17",
    "wandb>=0.19",
    "mujoco>=3.3",
    "mink>=1.0",
    "check-jsonschema>=0.30",
    "mkdocs>=1.6,<2",
    "mkdocs-material>=9.5,<10",
    "ruff",
    "mypy",
    "types-PyYAML",
]

setup(
    name=package_name,
    version="0.1.0",
    description="From an instruction and an RGB-D camera to a pose that a planner can act on",
    author="roborefer_ros contributors",
    maintainer="roborefer_ros maintainers",
    maintainer_email="maintainers@roborefer-ros.org",
    license="Apache-2.0",
    python_requires=">=3.10",
    packages=find_packages(include=[package_name, f"{package_name}.*"]),
    package_data={
        package_name: [
            "py.typed",
            "evaluation/*.html",
            "training/data/*.html",
            "training/label/*.html",
            "server/*.html",
            "demo_checkpoint/*",
            "demo_checkpoint/*/*",
            "training/sft/*.html",
            "training/sft/recipes/*.yaml",
            "verify/examples/*",
            "verify/golden/*",
            "verify/golden/*/*",
            "verify/golden/*/*/*",
        ]
    },
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{package_name}"]),
        (f"share/{package_name}", ["package.xml"]),
        (f"share/{package_name}/launch", sorted(glob("launch/*.py"))),
        (f"share/{package_name}/config", sorted(glob("config/*.yaml") + glob("config/*.xml"))),
        (f"share/{package_name}/config/cameras", sorted(glob("config/cameras/*.yaml"))),
        (f"share/{package_name}/rviz", sorted(glob("rviz/*.rviz"))),
    ],
    install_requires=["numpy>=1.21", "pillow>=10", "opencv-python-headless>=4.5.4,<5", "PyYAML>=6"],
    extras_require={
        "model": model,
        "vlm": vlm,
        "remote": remote,
        "sim": sim,
        "train": train,
        "datagen": datagen,
        "serve": serve,
        "label": label,
        "ray": ray,
        "eval": evaluate,
        "arm": arm,
        "test": test,
        "dev": dev,
        "all": vlm + remote + datagen + label + evaluate + arm,
    },
    zip_safe=False,
    entry_points={
        "console_scripts": [
            "roborefer = roborefer_ros.cli:main",
            "roborefer_node = roborefer_ros.nodes.start:refer_node",
            "sim_camera_node = roborefer_ros.nodes.start:sim_camera_node",
            "replay_camera_node = roborefer_ros.nodes.start:replay_camera_node",
        ],
    },
)
