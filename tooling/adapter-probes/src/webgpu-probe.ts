/// <reference types="@webgpu/types" />
import { readFileSync } from 'node:fs';
import {
  type Backend,
  type BackendTensor,
  type DType,
  type Shape,
  sizeOf,
  stridesOf,
  type TensorData,
  TopKError,
} from '@topk-attention/core';
import { Batch } from './batch.ts';
import { requestDevice } from './device.ts';
import { unsupported } from './unsupported.ts';

/** A GPU buffer with the number of tensors that view it and the batch that fills it. */
interface Storage {
  readonly buffer: GPUBuffer;
  readonly bytes: number;
  readonly batch: Batch;
  views: number;
}

interface GpuTensor extends BackendTensor {
  readonly storage: Storage;
}

export type WebGpuProbe = Backend<GpuTensor>;

const kernel = (name: string): string =>
  readFileSync(new URL(`./kernels/${name}.wgsl`, import.meta.url), 'utf8');

const kernels = {
  matmul: kernel('matmul'),
  topK: kernel('top-k'),
  gatherRows: kernel('gather-rows'),
  scatterAddRowsF32: kernel('scatter-add-rows').replaceAll('ELEMENT', 'f32'),
  scatterAddRowsI32: kernel('scatter-add-rows').replaceAll('ELEMENT', 'i32'),
  transpose: kernel('transpose'),
} as const;

const INVOCATIONS = 64;
const MAX_GROUPS = 65535;

/** Four bytes an element whatever the dtype: WGSL has no storage type for bool. */
function encode(data: ArrayLike<number>, dtype: DType): Float32Array | Int32Array | Uint32Array {
  if (dtype === 'f32') return Float32Array.from(data);
  return dtype === 'i32' ? Int32Array.from(data) : Uint32Array.from(data);
}

function decode(bytes: ArrayBuffer, dtype: DType): TensorData {
  if (dtype === 'f32') return new Float32Array(bytes);
  return dtype === 'i32' ? new Int32Array(bytes) : Uint8Array.from(new Uint32Array(bytes));
}

/** The backend interface on WGSL kernels: commands are recorded, `flush` and `read` submit them. */
export async function createWebGpuProbe(): Promise<WebGpuProbe> {
  const device = await requestDevice();
  const { queue } = device;
  const pipelines = new Map<string, GPUComputePipeline>();
  let lost: TopKError | undefined;
  let current: Batch | undefined;
  let live = 0;
  let peak = 0;
  let closed: Promise<void> | undefined;
  const all = new Set<Storage>();
  void device.lost.then(({ message }) => {
    lost ??= new TopKError('DEVICE_LOST', `webgpu-probe: ${message}`);
  });

  const batch = (): Batch => {
    if (lost !== undefined) throw lost;
    current ??= new Batch(device);
    return current;
  };
  const flush = (): void => {
    current?.submit();
    current = undefined;
  };

  const newBuffer = (bytes: number, content?: ArrayBufferView): GPUBuffer => {
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC;
    const buffer = device.createBuffer({ size: Math.max(4, bytes), usage, mappedAtCreation: !!content });
    if (content !== undefined) {
      const source = new Uint8Array(content.buffer, content.byteOffset, content.byteLength);
      new Uint8Array(buffer.getMappedRange()).set(source);
      buffer.unmap();
    }
    return buffer;
  };
  const make = (shape: Shape, dtype: DType, content?: ArrayBufferView): GpuTensor => {
    const owner = batch(); // opened before the buffer is made, so that its error scopes see it
    const bytes = 4 * sizeOf(shape);
    const storage: Storage = { buffer: newBuffer(bytes, content), bytes, batch: owner, views: 1 };
    all.add(storage);
    live += bytes;
    peak = Math.max(peak, live);
    return { shape, dtype, storage };
  };
  const view = (x: GpuTensor, shape: Shape): GpuTensor => {
    x.storage.views++;
    return { shape, dtype: x.dtype, storage: x.storage };
  };

  const pipelineOf = (name: keyof typeof kernels): GPUComputePipeline => {
    const known = pipelines.get(name);
    if (known !== undefined) return known;
    const module = device.createShaderModule({ code: kernels[name] });
    const made = device.createComputePipeline({ layout: 'auto', compute: { module } });
    pipelines.set(name, made);
    return made;
  };
  /** Records `count` invocations; bindings are the sizes (count first), the inputs, the outputs. */
  const record = (
    name: keyof typeof kernels,
    count: number,
    sizes: readonly number[],
    inputs: readonly GpuTensor[],
    outputs: readonly GpuTensor[],
  ): void => {
    if (count === 0) return;
    const owner = batch();
    for (const { storage } of inputs) owner.reads(storage.batch);
    const parameters = newBuffer(4 * (sizes.length + 1), Uint32Array.of(count, ...sizes));
    owner.discard(parameters);
    const buffers = [parameters, ...[...inputs, ...outputs].map(({ storage }) => storage.buffer)];
    const pipeline = pipelineOf(name);
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }));
    const pass = owner.encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }));
    const groups = Math.ceil(count / INVOCATIONS);
    pass.dispatchWorkgroups(Math.min(groups, MAX_GROUPS), Math.ceil(groups / MAX_GROUPS));
    pass.end();
  };

  const gatherRows = (x: GpuTensor, indices: GpuTensor): GpuTensor => {
    const [, rows = 0, width = 0] = x.shape;
    const out = make([...indices.shape, width], x.dtype);
    record('gatherRows', sizeOf(out.shape), [rows, indices.shape[1] ?? 0, width], [x, indices], [out]);
    return out;
  };
  const scatterAddRows = (n: number, indices: GpuTensor, updates: GpuTensor): GpuTensor => {
    const [group = 0, count = 0, width = 0] = updates.shape;
    const out = make([group, n, width], updates.dtype);
    const name = updates.dtype === 'f32' ? 'scatterAddRowsF32' : 'scatterAddRowsI32';
    record(name, sizeOf(out.shape), [n, count, width], [indices, updates], [out]);
    return out;
  };
  /** [..., n] as [rows, n, 1]: takeAlong and putAlong are gatherRows and scatterAddRows of rows of one element. */
  const asRows = (x: GpuTensor, rank: 2 | 3): GpuTensor => {
    const n = x.shape.at(-1) ?? 1;
    const rows = sizeOf(x.shape.slice(0, -1));
    return { shape: rank === 3 ? [rows, n, 1] : [rows, n], dtype: x.dtype, storage: x.storage };
  };
  const submitted = async (storages: readonly Storage[]): Promise<void> => {
    flush();
    const failures = await Promise.all(storages.map((storage) => storage.batch.failure));
    const failure = lost ?? failures.find((one) => one !== undefined);
    if (failure !== undefined) throw failure;
  };

  return {
    ...unsupported<GpuTensor>('webgpu-probe'),
    name: 'webgpu-probe',
    capabilities: {
      dtypes: ['f32', 'i32', 'bool'],
      floatStorage: 'f32',
      deterministicScatter: true,
      execution: 'recorded',
      limits: {
        maxBufferBytes: Math.min(device.limits.maxBufferSize, device.limits.maxStorageBufferBindingSize),
        targetScratchBytes: 2 ** 24,
        minQueryChunk: 1,
        maxQueryChunk: 1024,
        twoLevel: null,
        gatherCost: 1,
        inPlace: false,
        boolBytes: 4,
      },
    },
    upload: (data, shape, dtype) => make(shape, dtype, encode(data, dtype)),
    fill: (value, shape, dtype) => make(shape, dtype, encode(new Array(sizeOf(shape)).fill(value), dtype)),
    async read({ storage, dtype }) {
      flush(); // the copy is a batch of its own: work that x does not depend on may fail
      const usage = GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ;
      const owner = batch();
      owner.reads(storage.batch);
      const staging = device.createBuffer({ size: Math.max(4, storage.bytes), usage });
      owner.encoder.copyBufferToBuffer(storage.buffer, staging, storage.bytes);
      flush();
      const failure = (await owner.failure) ?? lost;
      if (failure !== undefined) throw failure;
      await staging.mapAsync(GPUMapMode.READ);
      const bytes = staging.getMappedRange().slice(0, storage.bytes);
      staging.destroy();
      return decode(bytes, dtype);
    },
    async evaluate(xs) {
      await submitted(xs.map(({ storage }) => storage));
      await queue.onSubmittedWorkDone();
    },
    flush,
    release({ storage }) {
      if (--storage.views > 0 || !all.delete(storage)) return;
      live -= storage.bytes;
      // Recorded commands may still use it: its bytes leave the report now and the device at the next flush.
      if (current === undefined) storage.buffer.destroy();
      else current.discard(storage.buffer);
    },
    memory: () => ({
      live,
      peak,
      covers: 'buffers of tensors; not parameters, staging, nor released ones in flight',
    }),
    resetPeak: () => {
      peak = live;
    },
    dispose() {
      if (closed !== undefined || lost !== undefined) return closed;
      lost = new TopKError('DISPOSED', 'webgpu-probe: used after dispose()');
      flush();
      for (const { buffer } of all) buffer.destroy();
      all.clear();
      live = 0;
      // Submitted work first: destroying the device under it can crash the process at its exit.
      closed = queue.onSubmittedWorkDone().then(() => device.destroy());
      return closed;
    },

    reshape: view,
    transpose(x, permutation) {
      const strides = stridesOf(x.shape);
      const out = make(
        permutation.map((axis) => x.shape[axis] ?? 0),
        x.dtype,
      );
      const steps = permutation.flatMap((axis) => [x.shape[axis] ?? 0, strides[axis] ?? 0]);
      record('transpose', sizeOf(out.shape), steps, [x], [out]);
      return out;
    },
    matmul(a, b, transposeA, transposeB) {
      const [aLast = 0, aSecond = 0] = a.shape.slice(-2).reverse();
      const [bLast = 0, bSecond = 0] = b.shape.slice(-2).reverse();
      const [rows, inner] = transposeA ? [aLast, aSecond] : [aSecond, aLast];
      const columns = transposeB ? bSecond : bLast;
      const lead = (a.shape.length >= b.shape.length ? a : b).shape.slice(0, -2);
      const out = make([...lead, rows, columns], a.dtype);
      const steps = [a, b].map(({ shape }) => (shape.length === 2 ? 0 : sizeOf(shape.slice(-2))));
      const sizes = [rows, inner, columns, ...steps, Number(transposeA), Number(transposeB)];
      record('matmul', sizeOf(out.shape), sizes, [a, b], [out]);
      return out;
    },
    topK(x, k) {
      const lead = x.shape.slice(0, -1);
      const values = make([...lead, k], x.dtype);
      const indices = make([...lead, k], 'i32');
      record('topK', sizeOf(lead), [x.shape.at(-1) ?? 0, k], [x], [values, indices]);
      return { values, indices };
    },
    takeAlong: (x, indices) => ({ ...gatherRows(asRows(x, 3), asRows(indices, 2)), shape: indices.shape }),
    putAlong: (indices, values, n) => ({
      ...scatterAddRows(n, asRows(indices, 2), asRows(values, 3)),
      shape: [...indices.shape.slice(0, -1), n],
    }),
    gatherRows,
    scatterAddRows,
  };
}
