"""Folders, for the tests to set."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence

models_dir = "models"
output_directory, input_directory, temp_directory, user_directory = "output", "input", "temp", "user"
folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}


def get_output_directory() -> str:
    return output_directory


def get_input_directory() -> str:
    return input_directory


def get_temp_directory() -> str:
    return temp_directory


def get_user_directory() -> str:
    return user_directory


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    paths, _ = folder_names_and_paths.setdefault(folder_name, ([], set()))
    if full_folder_path not in paths:
        paths.insert(0 if is_default else len(paths), full_folder_path)


def get_folder_paths(folder_name: str) -> list[str]:
    return folder_names_and_paths[folder_name][0][:]


def filter_files_extensions(files: Collection[str], extensions: Collection[str]) -> list[str]:
    return sorted(file for file in files if os.path.splitext(file)[-1].lower() in extensions or not extensions)


def get_filename_list(folder_name: str) -> list[str]:
    paths, extensions = folder_names_and_paths[folder_name]
    files = {file for folder in paths if os.path.isdir(folder) for file in os.listdir(folder)}
    return filter_files_extensions(files, extensions)


def get_full_path(folder_name: str, filename: str) -> str | None:
    """As the host: a name that climbs out of the folder is looked for inside it."""
    filename = os.path.relpath(os.path.join("/", filename), "/")
    places: Sequence[str] = [os.path.join(folder, filename) for folder in folder_names_and_paths[folder_name][0]]
    return next((place for place in places if os.path.isfile(place)), None)


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    path = get_full_path(folder_name, filename)
    if path is None:
        raise FileNotFoundError(f"Model in folder '{folder_name}' with filename '{filename}' not found.")
    return path


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """Folder, name, next free number, subfolder, prefix; of the host's %...% words only width and height."""
    prefix = filename_prefix.replace("%width%", str(image_width)).replace("%height%", str(image_height))
    subfolder, filename = os.path.split(os.path.normpath(prefix))
    folder = os.path.join(output_dir, subfolder)
    if os.path.commonpath((os.path.abspath(output_dir), os.path.abspath(folder))) != os.path.abspath(output_dir):
        raise Exception("**** ERROR: Saving image outside the output folder is not allowed.")
    os.makedirs(folder, exist_ok=True)
    taken = [
        name[len(filename) + 1 :].split("_")[0].split(".")[0]
        for name in os.listdir(folder)
        if name.startswith(f"{filename}_")
    ]
    counter = 1 + max((int(number) for number in taken if number.isdigit()), default=0)
    return folder, filename, counter, subfolder, prefix
