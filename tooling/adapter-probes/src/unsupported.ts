import { type Backend, type BackendTensor, TopKError } from '@topk-attention/core';

type Missing =
  | 'slice'
  | 'concat'
  | 'writeInto'
  | 'unary'
  | 'binary'
  | 'compare'
  | 'isNaN'
  | 'logicalAnd'
  | 'logicalNot'
  | 'where'
  | 'cast'
  | 'sum'
  | 'max'
  | 'softmax'
  | 'randomBits';

/** The primitives that a probe leaves out. Each throws UNSUPPORTED, so that a case that needs one fails by name. */
export function unsupported<T extends BackendTensor>(backend: string): Pick<Backend<T>, Missing> {
  const no = (primitive: Missing) => (): never => {
    throw new TopKError('UNSUPPORTED', `${backend} has no ${primitive}`, {
      fix: 'It is a probe of the interface: use a real backend',
    });
  };
  return {
    slice: no('slice'),
    concat: no('concat'),
    writeInto: no('writeInto'),
    unary: no('unary'),
    binary: no('binary'),
    compare: no('compare'),
    isNaN: no('isNaN'),
    logicalAnd: no('logicalAnd'),
    logicalNot: no('logicalNot'),
    where: no('where'),
    cast: no('cast'),
    sum: no('sum'),
    max: no('max'),
    softmax: no('softmax'),
    randomBits: no('randomBits'),
  };
}
