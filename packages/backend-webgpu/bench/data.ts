/// <reference types="@webgpu/types" />
import { type DType, fill, type Shape, type Tensor } from '@topk-attention/core';
import type { WebGpuBackend } from '@topk-attention/webgpu';

/**
 * 'normal': standard normal numbers. 'clusteredKeys': keys in clusters of 128 neighbours. 'clusteredQueries': queries
 * drawn to their own cluster.
 */
export type Kind = 'normal' | 'clusteredQueries' | 'clusteredKeys';

const KIND_NUMBER: Readonly<Record<Kind, number>> = { normal: 0, clusteredQueries: 1, clusteredKeys: 2 };
const CLUSTER = 128;
const CLUSTER_SEED = 99_991;

/**
 * Hashed normal numbers: the number of ones among 128 hashed bits, spread by a 16-bit fraction. Every step except the
 * last product is exact, so any device, with any compiler, produces the same numbers.
 */
const SHADER = `
struct Params { seed: u32, first: u32, count: u32, kind: u32, length: u32, dim: u32, clusterSeed: u32, row: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
fn hash(value: u32) -> u32 {
  let state = value * 747796405u + 2891336453u;
  let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
  return (word >> 22u) ^ word;
}
fn raw(index: u32, seed: u32) -> f32 {
  let a = hash(index ^ hash(seed)); let b = hash(a + index); let c = hash(b ^ 0x9e3779b9u); let d = hash(c + a);
  let ones = countOneBits(a) + countOneBits(b) + countOneBits(c) + countOneBits(d);
  return f32(i32(ones) - 64) + f32(hash(d) >> 16u) * (1.0 / 65536.0) - 0.5;
}
@compute @workgroup_size(256)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  for (var step = 0u; step < 4u; step++) {
    let at = ((group.y * params.row + group.x) * 4u + step) * 256u + thread;
    if (at >= params.count) { return; }
    let index = params.first + at;
    var value = raw(index, params.seed);
    if (params.kind != 0u) {
      let row = index / params.dim;
      let cluster = (row / params.length) * ((params.length + ${CLUSTER - 1}u) / ${CLUSTER}u) + row % params.length / ${CLUSTER}u;
      let mean = raw(cluster * params.dim + index % params.dim, params.clusterSeed);
      value = select(0.5 * value + mean, value + 1.5 * mean, params.kind == 1u);
    }
    x[at] = value * ${(1 / Math.sqrt(32 + 1 / 12)).toPrecision(9)};
  }
}`;

const pipelines = new WeakMap<GPUDevice, GPUComputePipeline>();
const UNIFORM = 0x40;
const COPY_DST = 0x8;
const MAP_READ = 0x1;
/** Elements that one dispatch fills: 128 MiB, the default limit of a binding. */
const MOST_ELEMENTS = 2 ** 25;

interface Stored {
  readonly span: { readonly buffer: GPUBuffer; readonly offset: number };
}

function storageOf(x: Tensor): Stored {
  return x.handle as typeof x.handle & Stored;
}

/**
 * [1, heads, length, dim] (or any shape whose last two are length and dim) of hashed numbers, generated on the device.
 */
export async function hashed(
  backend: WebGpuBackend,
  shape: Shape,
  seed: number,
  kind: Kind = 'normal',
): Promise<Tensor> {
  const { device, stream } = backend;
  const x = fill(backend, 0, shape);
  await stream.finish();
  let pipeline = pipelines.get(device);
  if (pipeline === undefined) {
    const module = device.createShaderModule({ code: SHADER });
    pipeline = await device.createComputePipelineAsync({
      layout: 'auto',
      compute: { module, entryPoint: 'main' },
    });
    pipelines.set(device, pipeline);
  }
  const { buffer, offset } = storageOf(x).span;
  const size = shape.reduce((a, b) => a * b, 1);
  for (let first = 0; first < size; first += MOST_ELEMENTS) {
    const count = Math.min(MOST_ELEMENTS, size - first);
    const groups = Math.ceil(count / 1024);
    const row = Math.min(groups, 32768);
    const [length = 1, dim = 1] = shape.slice(-2);
    const uniforms = device.createBuffer({ size: 32, usage: UNIFORM | COPY_DST });
    const words = [seed, first, count, KIND_NUMBER[kind], length, dim, CLUSTER_SEED, row];
    device.queue.writeBuffer(uniforms, 0, new Uint32Array(words));
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    const resource = { buffer, offset: offset + 4 * first, size: 4 * count };
    pass.setBindGroup(
      0,
      device.createBindGroup({
        layout: pipeline.getBindGroupLayout(0),
        entries: [
          { binding: 0, resource: { buffer: uniforms } },
          { binding: 1, resource },
        ],
      }),
    );
    pass.dispatchWorkgroups(row, Math.ceil(groups / row));
    pass.end();
    device.queue.submit([encoder.finish()]);
  }
  await device.queue.onSubmittedWorkDone();
  return x;
}

function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

/** Elements `start` to `start + count` of a tensor, whatever its size: only these are copied. i32 comes as Int32Array. */
export async function readElements(
  backend: WebGpuBackend,
  x: Tensor,
  start: number,
  count: number,
): Promise<Float32Array | Int32Array> {
  const { device, stream } = backend;
  await stream.finish();
  const { buffer, offset } = storageOf(x).span;
  const bytes: Readonly<Record<DType, number>> = { f32: 4, i32: 4, bool: 4, f16: 2 };
  const width = bytes[x.dtype];
  const from = Math.floor((start * width) / 4) * 4;
  const size = Math.ceil((start * width + count * width - from) / 4) * 4;
  const staging = device.createBuffer({ size, usage: COPY_DST | MAP_READ });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, offset + from, staging, 0, size);
  device.queue.submit([encoder.finish()]);
  await staging.mapAsync(1);
  const copy = staging.getMappedRange().slice(0);
  staging.destroy();
  if (x.dtype === 'f32') return new Float32Array(copy);
  if (x.dtype !== 'f16') return new Int32Array(copy);
  return Float32Array.from(new Uint16Array(copy, start * width - from, count), halfToFloat);
}
