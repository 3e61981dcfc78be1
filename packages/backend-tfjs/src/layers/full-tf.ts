import type * as tfl from '@tensorflow/tfjs-layers';
import type { Tf } from '../tf.js';
import type { KerasWeightArgs } from './layers-tf.js';

// tfjs-layers' types, for the implementation only: the package's public types must resolve where tfjs-layers is not
// installed.

type Layer = tfl.layers.Layer;
export type LayerVariable = tfl.LayerVariable;
export type Shape = tfl.Shape;
export type Initializer = ReturnType<typeof tfl.initializers.ones>;
export type Regularizer = ReturnType<typeof tfl.regularizers.l2>;
export type Constraint = ReturnType<typeof tfl.constraints.nonNeg>;

export interface RecipeArgs extends Omit<KerasWeightArgs, 'useBias'> {
  readonly units: number;
}

export type FullTf = Tf & {
  readonly layers: {
    readonly Layer: typeof tfl.layers.Layer;
    dense(args: RecipeArgs): Layer;
  };
};

/** A class made here, on tfjs-layers' own types. */
export interface LayerClass<Args> {
  new (args: Args): Layer;
  readonly className: string;
}

/** Arguments of a call other than the inputs. Only read: tfjs passes the same object to all layers of a model. */
export interface CallArgs {
  readonly [name: string]: unknown;
}
