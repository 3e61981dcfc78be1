# Source this (bash) on the machine with the GPU: unpacks node, the WebGPU binding and, where it is missing, the Vulkan
# loader. Runs twice without harm. Everything goes to $GPU_BENCH_HOME, by default a folder beside this file.
_pack=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
_home=${GPU_BENCH_HOME:-$_pack/unpacked}
mkdir -p "$_home/node_modules/webgpu/dist/linux-x64"
if [ ! -x "$_home/node" ]; then
  gzip -dc "$_pack"/node-*.gz > "$_home/node.part" && chmod +x "$_home/node.part" && mv "$_home/node.part" "$_home/node"
fi
if [ ! -s "$_home/node_modules/webgpu/dist/linux-x64/dawn.node" ]; then
  cp "$_pack/webgpu/index.js" "$_pack/webgpu/package.json" "$_home/node_modules/webgpu/"
  gzip -dc "$_pack"/webgpu/dawn-*.node.gz > "$_home/node_modules/webgpu/dist/linux-x64/dawn.node"
fi
# Modules resolve from where a script lies.
cp "$_pack"/gpu-table.mjs "$_pack"/torch_baselines.py "$_home/"
if ! ldconfig -p | grep -q 'libvulkan.so.1'; then
  for _deb in "$_pack"/debs/*.deb; do [ -f "$_deb" ] && dpkg -x "$_deb" "$_home/loader"; done
  export LD_LIBRARY_PATH=$_home/loader/usr/lib/x86_64-linux-gnu${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
fi
export PATH=$_home:$PATH XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/tmp}
# Containers mount the driver's description of itself outside of where the loader looks.
for _icd in /usr/local/nvidia/share/vulkan/icd.d/nvidia_icd.json; do
  [ -f "$_icd" ] && export VK_DRIVER_FILES=$_icd
done
cd "$_home" || return 1
