import type { Capabilities, DeviceLimits } from '@topk-attention/core/backend';

/**
 * What an engine of tf lacks or does differently, as data. Code asks for a trait and never for an engine's name, so a
 * new engine is a new entry in the table below, and an unknown one runs as tf itself describes its ops.
 */
export interface EngineTraits {
  /** The npm package whose import registers the engine. */
  readonly package?: string;

  // how work is done ---------------------------------------------------------------------------------------------

  /** An op has finished when it returns: core need not wait for the engine before it measures or reads. */
  readonly isEager: boolean;
  /** `dataSync` works, so that a loop in JavaScript can be a part of an operation. */
  readonly readsAtOnce: boolean;
  /** `dataSync` returns the engine's own array, not a copy of it. */
  readonly readsWithoutCopy: boolean;
  /** Reading and writing values on the host costs no more than an op of the engine. */
  readonly isOnHost: boolean;
  /** The object that reports the limits of the engine's GPU, and errors that the engine itself does not throw. */
  readonly gpu?: 'GPUDevice' | 'WebGL context';
  /** Overwrites its own data when it runs out of memory. */
  readonly overrunsMemory: boolean;
  /** A reshaped tensor has a different `dataId`, although it shares its data. */
  readonly renamesViews: boolean;
  /** Operations of TensorFlow can be run by name, among them some that tf does not offer. */
  readonly runsTensorFlowOps: boolean;
  /** The flag that lets the engine compute small tensors on the CPU, in other ways and with other results. */
  readonly cpuForwardFlag?: string;

  // planning -----------------------------------------------------------------------------------------------------

  /** Differences from the limits assumed for every engine. */
  readonly limits: Partial<DeviceLimits>;
  /** Size of a tile of fused attention: bytes of its scores, and fewest rows. */
  readonly attentionTile?: { readonly scoreBytes: number; readonly rows: number };

  // numbers ------------------------------------------------------------------------------------------------------

  /** Computes with every int32 as f32: exact up to 2^24. */
  readonly hasFloatIntegers: boolean;
  /** Loses bits in products and quotients of int32. */
  readonly roundsIntegerProducts: boolean;
  /** `neg` of int32 goes through f32. */
  readonly negatesThroughFloats: boolean;
  /** exp, log and sigmoid of NaN may give a number. */
  readonly losesNaN: boolean;
  /** a / a is 1 even for 0 and infinities, whose quotient is NaN. */
  readonly dividesEqualsToOne: boolean;
  /** `max` never returns less than -1e20. */
  readonly floorsMaxima: boolean;
  /** Adds all terms of a `sum` to one f32, which stops growing once terms are below half of its last digit. */
  readonly sumsInARow: boolean;
  /** Adds all terms of an element of a product to one f32, or to one for every few of them. */
  readonly multipliesInARow: boolean;
  /** Transpositions and reductions take floats only. */
  readonly movesOnlyFloats: boolean;
  /** How integers and bools are cast to float32: tf.cast may return a view, which still reads as integers. */
  readonly toFloats: 'tf.cast' | 'copy' | 'multiplication';

  // ops ----------------------------------------------------------------------------------------------------------

  /** Which matrix product: the engine's own, XNNPACK's (single matrices only), or one padded to whole tiles. */
  readonly product: 'tf.matMul' | 'xnnpack' | 'padded';
  /** Weighted rows, [R, k, 1] times [R, 1, D]. */
  readonly outerProduct: 'broadcast' | 'tf.matMul';
  /** Float arithmetic broadcasts as fast as it computes. */
  readonly broadcastsFloats: boolean;
  readonly softmax: 'composed' | 'tf.softmax' | 'loop';
  readonly topK: 'tf.topk' | 'tf.topk, ordered by a loop' | 'loop';
  /** How a slice is taken: by tf's own op, as pieces by gatherND, or by a loop. */
  readonly slice: 'tf.slice' | 'pieces' | 'loop';
  /** How rows are gathered: per batch by tf.gather, all batches as one by gatherND, or a loop. */
  readonly gather: 'tf.gather' | 'flat' | 'loop';
  readonly scatter: 'tf.scatterND' | 'loop';
  /** Whether a scatter adds in a fixed order: core's `deterministicScatter`. */
  readonly deterministicScatter: Capabilities['deterministicScatter'];
  /** Up to this many (row, update) pairs, scatters run as matrix products, which add in a fixed order. */
  readonly scatterByProductPairs?: number;
  /** scatterND adds an odd last update to row 0 as well. */
  readonly scattersInPairs: boolean;
}

/** tf's ops as documented, running asynchronously: assumed for an unknown engine. */
const documented: EngineTraits = {
  isEager: false,
  readsAtOnce: false,
  readsWithoutCopy: false,
  isOnHost: false,
  overrunsMemory: false,
  renamesViews: false,
  runsTensorFlowOps: false,
  limits: {},
  hasFloatIntegers: false,
  roundsIntegerProducts: false,
  negatesThroughFloats: false,
  losesNaN: false,
  dividesEqualsToOne: false,
  floorsMaxima: false,
  sumsInARow: false,
  multipliesInARow: false,
  movesOnlyFloats: false,
  toFloats: 'tf.cast',
  product: 'tf.matMul',
  outerProduct: 'broadcast',
  broadcastsFloats: false,
  softmax: 'composed',
  topK: 'tf.topk',
  slice: 'tf.slice',
  gather: 'tf.gather',
  scatter: 'tf.scatterND',
  deterministicScatter: true,
  scattersInPairs: false,
};

/** Plain JavaScript. tf's ops visit elements one by one, at 50 to 400 ns each: loops over typed arrays replace many. */
const cpu: EngineTraits = {
  ...documented,
  package: '@tensorflow/tfjs-backend-cpu',
  isEager: true,
  readsAtOnce: true,
  readsWithoutCopy: true,
  isOnHost: true,
  attentionTile: { scoreBytes: 2 ** 22, rows: 16 },
  // Products are f64, which loses the low bits that should wrap.
  roundsIntegerProducts: true,
  // Sums are f64, products are not.
  multipliesInARow: true,
  // A cast is a view, in which integers beyond 2^24 are not rounded.
  toFloats: 'copy',
  // Broadcasting takes 92 us per query of 16 keys, a product 14.
  outerProduct: 'tf.matMul',
  // tf's own makes two more arrays of this size.
  softmax: 'loop',
  // tf's own compares by differences, which are NaN between infinities, and makes an object per element.
  topK: 'loop',
  // tf's own takes 400 ns per element, unless the slice is one run.
  slice: 'loop',
  // tf's own takes 50 ns per element.
  gather: 'loop',
  scatter: 'loop',
};

/** XNNPACK and plain loops in WebAssembly, on the caller's thread. */
const wasm: EngineTraits = {
  ...documented,
  package: '@tensorflow/tfjs-backend-wasm',
  isEager: true,
  readsAtOnce: true,
  isOnHost: true,
  // When out of memory, it treats the address 0 that malloc returns as memory.
  overrunsMemory: true,
  limits: {
    // The second product of a feed-forward layer (512 tokens x 768, 3,072 hidden units) costs as much gathered as dense
    // at 105 kept units.
    gatherCost: 29,
    // Microseconds per row in two levels and in one: 52 and 44 at 8,192 keys, 115 and 138 at 32,768.
    twoLevel: { minKeys: 32_768, blockSize: 32 },
  },
  attentionTile: { scoreBytes: 2 ** 23, rows: 64 },
  // Quotients are f32, of 24 bits.
  roundsIntegerProducts: true,
  negatesThroughFloats: true,
  sumsInARow: true,
  multipliesInARow: true,
  // XNNPACK takes single matrices in row order (33 GFLOP/s); everything else is plain loops (2.4).
  product: 'xnnpack',
  broadcastsFloats: true,
  softmax: 'tf.softmax',
  topK: 'tf.topk, ordered by a loop',
  // tf's own first copies the whole tensor out of the engine's memory.
  slice: 'pieces',
  // A gather of batches reads its indices in the wrong places, and tf.gather copies element by element (25 ns each).
  gather: 'flat',
};

/** Textures and shaders, in a browser. */
const webgl: EngineTraits = {
  ...documented,
  package: '@tensorflow/tfjs-backend-webgl',
  gpu: 'WebGL context',
  limits: { boolBytes: 4 },
  hasFloatIntegers: true,
  dividesEqualsToOne: true,
  floorsMaxima: true,
  multipliesInARow: true,
  // A cast is a view that still reads as the old type.
  toFloats: 'multiplication',
  // tf's own reads the rows and selects as the cpu engine does, unless they are very long.
  topK: 'loop',
  scattersInPairs: true,
};

/** Most (row, update) pairs that the webgpu engine scatters by a matrix product. */
const ORDERED_SCATTER_PAIRS = 2 ** 22;

/** Buffers and compute shaders, in browsers and, through Dawn, in Node. */
const webgpu: EngineTraits = {
  ...documented,
  package: '@tensorflow/tfjs-backend-webgpu',
  gpu: 'GPUDevice',
  cpuForwardFlag: 'WEBGPU_CPU_FORWARD',
  limits: {
    boolBytes: 4,
    // On an H200 a chunk takes 8 ms whatever its size.
    targetScratchBytes: 2 ** 28,
    maxQueryChunk: 4096,
    // Microseconds per query on an H200 in two levels and in one: 10.7 and 13.9 at 4,096 keys, 58 and 108 at 32,768.
    twoLevel: { minKeys: 4096, blockSize: 16 },
  },
  hasFloatIntegers: true,
  // WGSL leaves functions of NaN to the device.
  losesNaN: true,
  sumsInARow: true,
  multipliesInARow: true,
  // A transposition of integers with three or more axes is an invalid program, which gave zeros.
  movesOnlyFloats: true,
  // A cast is a view; programs that read it as floats are invalid.
  toFloats: 'multiplication',
  // The tiled programs read the second matrix beyond its end; some add with atomics.
  product: 'padded',
  deterministicScatter: {
    no: `tfjs adds with float atomics on WebGPU; only up to ${ORDERED_SCATTER_PAIRS} pairs of row and update in order`,
  },
  scatterByProductPairs: ORDERED_SCATTER_PAIRS,
};

/** TensorFlow's C library on the CPU: tfjs-node. */
const tensorflow: EngineTraits = {
  ...documented,
  package: '@tensorflow/tfjs-node',
  isEager: true,
  readsAtOnce: true,
  renamesViews: true,
  runsTensorFlowOps: true,
  limits: {
    // The second product of a feed-forward layer (512 tokens x 768, 3,072 hidden units, 2 threads) costs as much
    // gathered as dense at 34 kept units.
    gatherCost: 90,
    // Microseconds per row in two levels and in one: 25 and 20 up to 8,192 keys, 47 and 54 at 32,768.
    twoLevel: { minKeys: 32_768, blockSize: 32 },
  },
  // TensorFlow takes arrays above 32 MiB from the system each time, which costs as much as filling them; below some 384
  // rows, packing the keys costs more than that. Microseconds per query in tiles of 768 and 1,536 rows at 8,192 keys:
  // 237 and 295; of 192, 384 and 768 rows at 32,768 keys: 792, 698 and 754.
  attentionTile: { scoreBytes: 3e7, rows: 384 },
  softmax: 'tf.softmax',
  topK: 'tf.topk, ordered by a loop',
};

/** The same on a CUDA device (tfjs-node-gpu), which runs asynchronously. `readsAtOnce` holds; reading waits. */
const tensorflowOnCuda: EngineTraits = {
  ...tensorflow,
  isEager: false,
  // nth_element, which selection needs, has no kernel for a GPU.
  runsTensorFlowOps: false,
  topK: 'tf.topk',
  deterministicScatter: { no: 'TensorFlow adds with float atomics on CUDA' },
};

const table: ReadonlyMap<string, EngineTraits> = new Map(
  Object.entries({ cpu, wasm, webgl, webgpu, tensorflow }),
);

/** The traits of an engine, by tf's name for it; for an unknown engine, those that tf documents. */
export function traitsOf(name: string, device: 'cuda' | 'other' = 'other'): EngineTraits {
  const traits = table.get(name) ?? documented;
  return traits === tensorflow && device === 'cuda' ? tensorflowOnCuda : traits;
}
