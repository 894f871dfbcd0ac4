"""Why operators of com.microsoft have no gradient here: all of the runtime's that have no body and no rule.

tests/engine/test_contrib.py holds the table against what the installed runtime registers.
"""

from __future__ import annotations

_REASONS = {
    "works on words and their numbers, which no model of pictures does": (
        "AttnLSTM BeamSearch GreedySearch Sampling WhisperBeamSearch BifurcationDetector NGramRepeatBlock "
        "NGramHashMapping VarlenNGramHashMapping Tokenizer WordConvEmbedding MurmurHash3 DynamicTimeWarping "
        "RelativePositionBias TorchEmbedding GatherBlockQuantized QEmbedLayerNormalization EngramGate"
    ),
    "reads the cache of a language model, of which only the runtime knows the layout": (
        "DecoderAttention DecoderMaskedMultiHeadAttention DecoderMaskedSelfAttention PagedAttention "
        "SparsePagedAttention SparseAttention SparseAttentionIndexer PackedSparseAttentionIndexer "
        "DynamicSparseAttention LongformerAttention"
    ),
    "takes sequences of several lengths packed into one row, as servers of language models do": (
        "PackedAttention PackedMultiHeadAttention RemovePadding RestorePadding VarlenCausalConvWithState"
    ),
    "is a layer of recent language models only": (
        "GatedDeltaNet GatedRMSNorm LinearAttention LinearAttentionGate CausalConvWithState "
        "HyperConnectionPreMix HyperConnectionPostMix BranchwiseRMSNorm MRotaryEmbedding "
        "GemmaRotaryEmbedding GatedRelativePositionBias GatedAdd ScaledSiLU MoE QMoE"
    ),
    "holds its numbers in the layout of one kind of hardware; take the model before it was made for that": (
        "QOrderedAttention QOrderedGelu QOrderedLayerNormalization QOrderedLongformerAttention "
        "QOrderedMatMul QuantizeWithOrder DequantizeWithOrder QuantizeBFP DequantizeBFP EPContext Snpe "
        "GemmFloat8 MatMulBlockQuantizedFp4Weight MatMulBlockQuantizedFp8Weight MatMulFpQ4 MatMulNBitsMlp "
        "MatMulNBitsQkv"
    ),
    "is written for training on one kind of hardware; export the Dropout that it was": (
        "BiasDropout BitmaskBiasDropout BitmaskDropout"
    ),
    "was made by DirectML or ROCm for their own kernels; take the model before that": (
        "FusedMatMulActivation BiasSoftmax"
    ),
    "makes whole numbers of whole numbers, without a scale that says what they stand for": (
        "MatMulInteger16 MulInteger ReduceSumInteger"
    ),
    "tells whether numbers are finite, which does not change by a little": "IsAllFinite",
    "has an operator of ONNX in its place; export with that": (
        "ComplexMul ComplexMulConj Rfft Irfft ConvTransposeWithDynamicPads CropAndResize MaxpoolWithMask "
        "Range UnfoldTensor Unique Inverse"
    ),
    "is written by no exporter": "SampleOp SparseToDenseMatMul",
}
REFUSED = {f"com.microsoft:{name}": reason for reason, names in _REASONS.items() for name in names.split()}
