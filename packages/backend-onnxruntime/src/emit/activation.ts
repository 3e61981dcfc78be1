import type { Activation } from '@topk-attention/core';
import type { GraphBuilder } from '../onnx/graph-builder.js';

export function emitActivation(onnx: GraphBuilder, x: string, activation: Activation): string {
  switch (activation) {
    case 'relu':
      return onnx.op('Relu', [x]);
    case 'gelu':
      return onnx.op('Gelu', [x], { approximate: 'none' });
    case 'gelu_tanh':
      return onnx.op('Gelu', [x], { approximate: 'tanh' });
    case 'silu':
      return onnx.op('Mul', [x, onnx.op('Sigmoid', [x])]);
    default:
      return activation satisfies never;
  }
}
