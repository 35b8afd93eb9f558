"""The clickable image grid."""
