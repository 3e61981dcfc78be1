import type { Kernel, Span } from './kernel.js';
import { type Pipelines, UNIFORM_BYTES } from './pipelines.js';

/** Most entries kept. Beyond that all are dropped, because by then most of them refer to buffers that are gone. */
const MOST_GROUPS = 16_384;

/** Bind groups by layout and buffers: steady work binds the same buffers of the pool again and again. */
export class BindGroups {
  readonly #device: GPUDevice;
  readonly #pipelines: Pipelines;
  readonly #groups = new Map<string, GPUBindGroup>();
  readonly #ids = new WeakMap<GPUBuffer, number>();
  #lastId = 0;
  #uniforms: GPUBuffer | undefined;

  constructor(device: GPUDevice, pipelines: Pipelines) {
    this.#device = device;
    this.#pipelines = pipelines;
  }

  get(kernel: Kernel, spans: readonly Span[], uniforms: GPUBuffer): GPUBindGroup {
    if (uniforms !== this.#uniforms || this.#groups.size >= MOST_GROUPS) this.#groups.clear();
    this.#uniforms = uniforms;
    let key = '';
    for (let index = 0; index < spans.length; index++) {
      const { buffer, offset, size } = spans[index] as Span;
      key += `${kernel.buffers[index] === 'read' ? 'r' : 'w'}${this.idOf(buffer)},${offset},${size} `;
    }
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = this.make(kernel, spans, uniforms);
      this.#groups.set(key, group);
    }
    return group;
  }

  /** A bind group that the caller keeps. */
  make(kernel: Kernel, spans: readonly Span[], uniforms: GPUBuffer): GPUBindGroup {
    return this.#device.createBindGroup({
      layout: this.#pipelines.layoutOf(kernel),
      entries: [
        { binding: 0, resource: { buffer: uniforms, offset: 0, size: UNIFORM_BYTES } },
        ...spans.map((span, index) => ({ binding: index + 1, resource: span })),
      ],
    });
  }

  clear(): void {
    this.#groups.clear();
    this.#uniforms = undefined;
  }

  /** A number of the buffer's own. */
  idOf(buffer: GPUBuffer): number {
    let id = this.#ids.get(buffer);
    if (id === undefined) {
      id = ++this.#lastId;
      this.#ids.set(buffer, id);
    }
    return id;
  }
}
