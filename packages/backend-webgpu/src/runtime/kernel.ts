/** Part of a buffer. The offset is a multiple of 256 bytes, the size a multiple of 4. */
export interface Span {
  readonly buffer: GPUBuffer;
  /** In bytes. */
  readonly offset: number;
  /** In bytes. */
  readonly size: number;
}

/** How a shader uses a buffer. */
export type Access = 'read' | 'write';

/**
 * A compute shader with entry point `main`. Group 0 holds the uniform block at binding 0 (`var<uniform>`) and the storage
 * buffers at bindings 1, 2, ...: `var<storage, read>` for 'read', `var<storage, read_write>` for 'write'.
 */
export interface Kernel {
  /** Names the shader and every parameter its text depends on, never a sequence length: equal keys, equal shaders. */
  readonly key: string;
  /** The WGSL; called once per device and key. */
  readonly source: () => string;
  readonly buffers: readonly Access[];
}

/** One dispatch. */
export interface Launch {
  readonly kernel: Kernel;
  /**
   * One per entry of `kernel.buffers`. A buffer bound for writing must not be bound a second time, except for writing to
   * another place.
   */
  readonly buffers: readonly Span[];
  /** The uniform block, as made by `uniformWords`. */
  readonly uniforms: Uint32Array;
  /**
   * Workgroups in x, y, z, each at most 65,535 (see `gridOf`), or the place in a buffer of three u32 that hold them.
   */
  readonly workgroups: readonly [number, number, number] | { readonly indirect: Span };
}

const scratch = new DataView(new ArrayBuffer(4));

/** Bits of an f32, for a uniform block. */
export function f32Bits(value: number): number {
  scratch.setFloat32(0, value, true);
  return scratch.getUint32(0, true);
}

/** A uniform block of 32-bit words, padded to 16 bytes. Signed values keep their bits. */
export function uniformWords(values: readonly number[]): Uint32Array {
  const block = new Uint32Array(Math.ceil(Math.max(values.length, 1) / 4) * 4);
  block.set(values);
  return block;
}

/** Most workgroups per dimension that every device takes. */
export const LARGEST_GRID = 65_535;

/**
 * A grid of at least `count` workgroups in x and y; the shader computes `workgroup_id.x + workgroup_id.y *
 * num_workgroups.x` and must exit at once if that is not below its own count.
 */
export function gridOf(count: number): readonly [number, number, number] {
  if (count <= LARGEST_GRID) return [Math.max(1, count), 1, 1];
  const rows = Math.ceil(count / LARGEST_GRID);
  return [Math.ceil(count / rows), rows, 1];
}
