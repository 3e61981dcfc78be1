import type { Engine } from '../engine/engine.js';
import type { Tf, TfTensor } from '../tf.js';

/** A result of TensorFlow that is not a tensor of tfjs-node yet. */
interface OpResult {
  readonly id: number;
  readonly shape: number[];
  readonly dtype: number;
}

interface OpAttribute {
  readonly name: string;
  readonly type: number;
  readonly value: boolean | number;
}

/** The part of tfjs-node's backend that runs operations of TensorFlow by name. */
interface NodeBackend {
  readonly binding: {
    readonly TF_ATTR_BOOL: number;
    readonly TF_ATTR_TYPE: number;
    readonly TF_BOOL: number;
    readonly TF_FLOAT: number;
    readonly TF_INT32: number;
    readonly TF_INT64: number;
    executeOp(
      name: string,
      attributes: readonly OpAttribute[],
      inputs: readonly number[],
      outputs: number,
    ): OpResult[];
    deleteTensor(id: number): void;
  };
  getInputTensorIds(tensors: readonly TfTensor[]): number[];
  createOutputTensor(result: OpResult): TfTensor;
}

type Ids = [number, number, number];

/** Operations of TensorFlow that tf does not offer. */
export interface TensorFlowOps {
  /**
   * f32 [rows]: the n-th largest, n from 0, of each row of x [rows, width], by partitioning, without sorting. No NaN.
   */
  nthLargest(x: TfTensor, n: number): TfTensor;
  /** i32 [count, 1]: the places where x, a bool vector shorter than 2^31, is true, ascending. */
  placesOf(x: TfTensor): TfTensor;
  /**
   * f32 [count, D]: in each row the sum of weights [M] times the rows of x [N, D], for `places` i32 [M, 2] of (row of
   * the result, row of x); in the order of the places.
   */
  sumOfRows(places: TfTensor, weights: TfTensor, count: number, x: TfTensor): TfTensor;
}

const known = new WeakMap<object, TensorFlowOps | null>();

/**
 * The operations of the TensorFlow behind tf. Undefined on other engines and devices, and with a version of tfjs-node
 * or TensorFlow that lacks one of them, which is tried once.
 */
export function tensorFlowOps({ tf, traits }: Engine): TensorFlowOps | undefined {
  if (!traits.runsTensorFlowOps) return undefined;
  const backend: object = tf.backend();
  let ops = known.get(backend);
  if (ops === undefined) {
    ops = isNodeBackend(backend) ? makeOps(tf, backend) : null;
    if (ops !== null && !works(tf, ops)) ops = null;
    known.set(backend, ops);
  }
  return ops ?? undefined;
}

function isNodeBackend(backend: object): backend is NodeBackend {
  const binding: unknown = Reflect.get(backend, 'binding');
  return (
    typeof binding === 'object' &&
    binding !== null &&
    ['executeOp', 'deleteTensor'].every((name) => typeof Reflect.get(binding, name) === 'function') &&
    ['getInputTensorIds', 'createOutputTensor'].every(
      (name) => typeof Reflect.get(backend, name) === 'function',
    )
  );
}

function makeOps(tf: Tf, backend: NodeBackend): TensorFlowOps {
  const { binding } = backend;
  const flag = (name: string, value: boolean): OpAttribute => ({ name, type: binding.TF_ATTR_BOOL, value });
  const type = (name: string, value: number): OpAttribute => ({ name, type: binding.TF_ATTR_TYPE, value });
  const run = (name: string, attributes: readonly OpAttribute[], inputs: readonly number[]): OpResult =>
    binding.executeOp(name, attributes, inputs, 1)[0] as OpResult;
  return {
    nthLargest: (x, n) =>
      tf.tidy(() => {
        const ids = backend.getInputTensorIds([x, tf.scalar(n, 'int32')]);
        const attributes = [flag('reverse', true), type('T', binding.TF_FLOAT)];
        return backend.createOutputTensor(run('NthElement', attributes, ids));
      }),
    placesOf: (x) => {
      // Places have 64 bits, for which tf has no type (it warns): narrowed to 32 before they become a tensor.
      const wide = run('Where', [type('T', binding.TF_BOOL)], backend.getInputTensorIds([x]));
      const attributes = [
        type('SrcT', binding.TF_INT64),
        type('DstT', binding.TF_INT32),
        flag('Truncate', false),
      ];
      try {
        return backend.createOutputTensor(run('Cast', attributes, [wide.id]));
      } finally {
        binding.deleteTensor(wide.id);
      }
    },
    sumOfRows: (places, weights, count, x) =>
      tf.tidy(() => {
        const shape = tf.tensor1d([count, x.shape[0] as number], 'int32');
        const widening = [
          type('SrcT', binding.TF_INT32),
          type('DstT', binding.TF_INT64),
          flag('Truncate', false),
        ];
        const [ofShape] = backend.getInputTensorIds([shape]) as [number];
        const wide = run('Cast', widening, [ofShape]);
        const [ofPlaces, ofWeights, ofRows] = backend.getInputTensorIds([places, weights, x]) as Ids;
        const attributes = [
          type('T', binding.TF_FLOAT),
          type('Tindices', binding.TF_INT32),
          flag('adjoint_a', false),
          flag('adjoint_b', false),
        ];
        try {
          const inputs = [ofPlaces, ofWeights, wide.id, ofRows];
          return backend.createOutputTensor(run('SparseTensorDenseMatMul', attributes, inputs));
        } finally {
          binding.deleteTensor(wide.id);
        }
      }),
  };
}

function works(tf: Tf, ops: TensorFlowOps): boolean {
  try {
    return tf.tidy(() => {
      const row = tf.tensor2d([[1, 3, 2, 4]]);
      const second = ops.nthLargest(row, 1);
      const places = ops.placesOf(tf.greaterEqual(tf.reshape(row, [4]), second));
      const twice = tf.tensor2d(
        [
          [1, 0],
          [1, 0],
        ],
        [2, 2],
        'int32',
      );
      const sums = ops.sumOfRows(twice, tf.tensor1d([1, 2]), 2, tf.tensor2d([[5, 7]]));
      return (
        second.dataSync()[0] === 3 &&
        places.dataSync().join() === '1,3' &&
        sums.dataSync().join() === '0,0,15,21'
      );
    });
  } catch {
    return false;
  }
}
