# shellcheck shell=bash
# Sourced with the folder of the images as argument: buildah_here is buildah with a storage below that folder.
images_dir=$(realpath "$1")
buildah_here() {
    buildah --root "$images_dir/storage" --runroot "$images_dir/run" --storage-driver vfs "$@"
}
