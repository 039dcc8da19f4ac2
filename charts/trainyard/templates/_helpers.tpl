{{- define "trainyard.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "trainyard.selector" -}}
app.kubernetes.io/name: trainyard
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "trainyard.labels" -}}
{{ include "trainyard.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: trainyard
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "trainyard.serviceAccount" -}}
{{- default (include "trainyard.fullname" .) .Values.serviceAccount.name -}}
{{- end -}}

{{- /* (dict "image" … "root" $): repository@digest, or repository:tag */ -}}
{{- define "trainyard.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .root.Chart.AppVersion .image.tag) -}}
{{- end -}}
{{- end -}}

{{- /* Rights in the namespaces that are looked after. */ -}}
{{- define "trainyard.rules" -}}
- apiGroups: [trainyard.dev]
  resources: [trainingpipelines]
  verbs: [get, list, watch]
- apiGroups: [trainyard.dev]
  resources: [trainingruns]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [trainyard.dev]
  resources: [trainingpipelines/status, trainingruns/status]
  verbs: [update]
# For clusters that demand it of whoever sets blockOwnerDeletion.
- apiGroups: [trainyard.dev]
  resources: [trainingpipelines/finalizers, trainingruns/finalizers]
  verbs: [update]
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, delete, deletecollection]
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [services]
  verbs: [create, delete]
# The cache of pure steps, one per pipeline.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, update]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
