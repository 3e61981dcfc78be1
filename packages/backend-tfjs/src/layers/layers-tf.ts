import type { serialization } from '@tensorflow/tfjs-core';
import type { Tf } from '../tf.js';

/**
 * What `topKLayers` needs from the caller's tf: tfjs-core's functions and `layers` of tfjs-layers. `@tensorflow/tfjs`
 * and `@tensorflow/tfjs-node` have both; with separate packages, pass `{ ...tfCore, ...tfLayers }`, whose `default` is
 * either's.
 */
export type LayersTf = Omit<Tf, 'default'> & {
  readonly layers: {
    readonly Layer: abstract new (...args: never[]) => object;
    readonly dense: (args: never) => object;
  };
};

/** A class of layers on the caller's tf: an instance has everything that tf's own `Layer` has. */
export interface TopKLayerClass<T extends LayersTf, Args> {
  new (args: Args): InstanceType<T['layers']['Layer']>;
  /** The name under which the class is registered and saved. */
  readonly className: string;
}

/**
 * An initialiser, regulariser or constraint: its Keras name (`'glorotUniform'`), its saved form
 * (`{ className, config }`) or an object of the caller's tf (`tf.regularizers.l2({ l2: 0.01 })`).
 */
export type KerasObject =
  | string
  | { readonly className: string; readonly config: serialization.ConfigDict }
  | serialization.Serializable;

/** What every layer of tfjs takes. */
export interface KerasLayerArgs {
  readonly name?: string;
  readonly trainable?: boolean;
  /** Shape of one example, for the first layer of a `tf.sequential()`. null: any length. */
  readonly inputShape?: (number | null)[];
  readonly batchInputShape?: (number | null)[];
}

/** Initialisers, regularisers and constraints of a layer's weights. */
export interface KerasWeightArgs {
  /** Default true. */
  readonly useBias?: boolean;
  /** Default 'glorotUniform'. */
  readonly kernelInitializer?: KerasObject;
  /** Default 'zeros'. */
  readonly biasInitializer?: KerasObject;
  readonly kernelRegularizer?: KerasObject;
  readonly biasRegularizer?: KerasObject;
  readonly kernelConstraint?: KerasObject;
  readonly biasConstraint?: KerasObject;
}
