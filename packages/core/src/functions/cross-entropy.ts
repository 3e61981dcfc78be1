import { custom } from '../autograd/custom.js';
import type { CrossEntropyRequest } from '../contract/cross-entropy.js';
import { isFloat } from '../contract/dtype.js';
import { TopKError } from '../contract/errors.js';
import { formatShape } from '../contract/shape.js';
import { runOperation } from '../operation/run.js';
import { cast, eq, where } from '../ops/elementwise.js';
import { aNumber, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { requireTensor } from '../tensor/require-tensor.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';
import { crossEntropyGradientOperation, crossEntropyOperation } from './cross-entropy-operations.js';

export interface CrossEntropyOptions {
  /**
   * Share of each target that is spread evenly over all classes, from 0 to below 1, as in PyTorch. Default 0.
   */
  readonly labelSmoothing?: number;
  /** The target that leaves a row out. Default -1; PyTorch's is -100. */
  readonly ignoreIndex?: number;
}

const kinds: OptionKinds<CrossEntropyOptions> = { labelSmoothing: aNumber, ignoreIndex: aNumber };

/** What the operations leave out. */
const LEFT_OUT = -1;

/**
 * Mean negative log likelihood of `targets` under `logits`. Sums are in a fixed order.
 *
 * @param logits float [N, classes]
 * @param targets i32 [N]; -1, or `ignoreIndex`, leaves a row out of the mean and out of the gradient, whatever its logits
 * hold; any other target outside [0, classes) makes the loss NaN, and the gradient of its row
 * @returns f32 scalar, computed in f32 for f16 logits too; NaN if every row is left out
 * @throws TopKError SHAPE_MISMATCH, INVALID_OPTION
 */
export function crossEntropy(logits: Tensor, targets: Tensor, options?: CrossEntropyOptions): Tensor {
  const { labelSmoothing = 0, ignoreIndex = LEFT_OUT } = readOptions('crossEntropy', options, kinds);
  checkInputs(logits, targets);
  checkSmoothing(labelSmoothing);
  checkIgnored(ignoreIndex);
  const [rows, classes] = logits.shape as readonly [number, number];
  const request: CrossEntropyRequest = { rows, classes, dtype: 'f32', labelSmoothing };
  return scope(() => {
    const wide = cast(logits, 'f32');
    const own = ignoreIndex === LEFT_OUT ? targets : renamed(targets, ignoreIndex, classes);
    const [loss] = custom(
      'crossEntropy',
      [wide],
      () => {
        const inputs = { logits: wide, targets: own };
        const made = runOperation(crossEntropyOperation, { where: 'crossEntropy', request, inputs });
        return { outputs: [made.loss], saved: [wide, own, made.statistics, made.count] };
      },
      (_ops, [dLoss], saved) => {
        if (dLoss === undefined) return [];
        const [ownLogits, ownTargets, statistics, count] = saved as [Tensor, Tensor, Tensor, Tensor];
        const inputs = { logits: ownLogits, targets: ownTargets, statistics, count, dLoss };
        const call = { where: 'crossEntropy.backward', request, inputs };
        return [runOperation(crossEntropyGradientOperation, call).logits];
      },
    );
    return loss as Tensor;
  });
}

function checkInputs(logits: Tensor, targets: Tensor): void {
  requireTensor('crossEntropy', 'logits', logits);
  requireTensor('crossEntropy', 'targets', targets);
  const isFit = isFloat(logits.dtype) && logits.rank === 2 && targets.dtype === 'i32' && targets.rank === 1;
  if (isFit && targets.shape[0] === logits.shape[0]) return;
  throw new TopKError('SHAPE_MISMATCH', 'crossEntropy: logits and targets have the wrong dtypes or shapes', {
    expected: 'logits float [N, classes] and targets i32 [N]',
    got: `${logits.dtype} ${formatShape(logits.shape)} and ${targets.dtype} ${formatShape(targets.shape)}`,
    ...(logits.rank > 2 && { fix: 'Flatten both with reshape' }),
  });
}

function checkSmoothing(labelSmoothing: number): void {
  if (labelSmoothing >= 0 && labelSmoothing < 1) return;
  throw new TopKError('INVALID_OPTION', 'crossEntropy: bad labelSmoothing', {
    expected: 'a number from 0 to below 1',
    got: String(labelSmoothing),
  });
}

function checkIgnored(ignoreIndex: number): void {
  if (Number.isInteger(ignoreIndex) && Math.abs(ignoreIndex) < 2 ** 31) return;
  throw new TopKError('INVALID_OPTION', 'crossEntropy: bad ignoreIndex', {
    expected: 'a whole number of 32 bits',
    got: String(ignoreIndex),
  });
}

/** Targets with `ignoreIndex` as -1; a -1 among them is a target outside the classes, as it would be in PyTorch. */
function renamed(targets: Tensor, ignoreIndex: number, classes: number): Tensor {
  return scope(() =>
    where(eq(targets, ignoreIndex), LEFT_OUT, where(eq(targets, LEFT_OUT), classes, targets)),
  );
}
