import type { MechanismRefusals } from '@topk-attention/nn';

const pairs = 'It never computes the weights of single pairs of a query and a key';

/** Of mechanisms that work on sums over the keys. */
export const noPairs: MechanismRefusals = {
  mask: `${pairs}, so only padding and causality can be hidden`,
  bias: `${pairs}, to which a bias could be added`,
  relativeBias: `${pairs}, to which a bias could be added`,
  dropout: `${pairs}, which could be dropped`,
};

/** Of the direct form of a mechanism whose other one works on such sums. Both take the same options. */
export function asOtherForm(other: string): MechanismRefusals {
  const same = `Both forms take the same options, and the ${other} one has no single pairs of a query and a key`;
  return {
    mask: `${same}, which a mask could hide`,
    bias: `${same}, to which a bias could be added`,
    relativeBias: `${same}, to which a bias could be added`,
    dropout: `${same}, which could be dropped`,
  };
}

/** Why weights trained with softmax do not serve. */
export const notSoftmax = 'Its weights are not those of softmax: train the model with it from the start';
